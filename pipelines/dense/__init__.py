"""Dense tasks' data path: views of any size and aspect ratio, and the targets that ride along."""
