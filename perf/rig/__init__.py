"""The load rig: peers run one after another in interleaved rounds, and what they cost is compared within a round."""
