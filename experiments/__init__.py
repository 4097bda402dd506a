"""The paper's tables and figures: what runs, what is read of it, and the published values beside."""
