"""How closely `check-data` looks at image files."""

FILE_CHECKS = ("none", "exist", "header", "decode")  # whether they exist, their size, every pixel
