"""A labelled corpus of sessions, sick and healthy, and how well the detector judges them.

    words -> speakers (a dialect's wire) -> themes (what goes wrong, or only looks like it)
          -> generate (cases by seed) + hard (made by hand) -> judge -> scoring -> evaluate

Labels say what a person who watched the session would expect under the default profile; nothing
here knows how a detector works inside.
"""
