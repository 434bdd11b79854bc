"""How the candidates of an object are ranked where nothing else is said: MS-DETR (arXiv 2401.03989), figure 7."""

COUNT = 20  # candidates of an object
ALPHA = 0.0  # weight of the score: by IoU alone
