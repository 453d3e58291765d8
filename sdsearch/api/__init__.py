"""The public interface: what `import sdsearch` gives, over the stages. Start at study.py."""
