// A table that is wider than the page scrolls by the keyboard too.
document.addEventListener("DOMContentLoaded", () => {
  const reach = () => {
    for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
      wide.tabIndex = 0
    }
  }
  reach()
  new MutationObserver(reach).observe(document.body, { childList: true, subtree: true })
})
