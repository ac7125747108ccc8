"""The minimum itself where the problem is convex: no learning rate, no epochs, no seeds."""
