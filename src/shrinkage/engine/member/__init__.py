"""One member: settings, model, knobs, and one step of its training."""
