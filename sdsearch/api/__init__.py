"""The public interface, which `import sdsearch` gives: studies, designs in a user's hands, UNets.

Imports stages and what lies below them. Start at study.py.
"""
