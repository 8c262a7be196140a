"""Feature vectors in bulk: from sources to stores, and what is done with stored vectors.

It never imports the TF-Hub API (`hub`) nor anything that trains.
"""
