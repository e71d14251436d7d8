"""Hostile and damaged inputs for every command, and a judge of what the command did with them.

`world` builds real artifacts; `artifacts`, `texts`, `pictures`, `models`, `outside` and `sizes`
damage them; `running` runs a command on one; `judge` says what was wrong with the answer; `trial`
does all of it for one kind and seed. `campaign.py`, `kills.py` and the tests share them.
"""
