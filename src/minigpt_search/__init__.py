"""minigpt-search: which learning rate, how many epochs, which width, searched for a small GPT.

Beside this file four links lead to the checkout's folders, so that their code has one name for
import, `minigpt_search.data` and so on, and a `data` or `model` of the user's own keeps its name.
"""
