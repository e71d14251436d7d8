"""From a gradient to the direction in which a layer moves. Pure."""
