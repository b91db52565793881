"""Transfer: networks of dense tasks, trained from an encoder on labeled data of their own."""
