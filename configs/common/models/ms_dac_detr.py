"""MS-DETR with DAC-DETR (arXiv 2401.03989, table 2: "DAC-DETR + MS-DETR"), on two-stage Deformable DETR.

The paper says only that one-to-many supervision is applied to the queries of the primary decoder branch. Ours:
MS-DETR's placement (c), as everywhere in that paper. Its layers start with the cross-attention, so that the second
stream starts from the initial content. Placement (a) is a choice of `order` and `one_to_many.after` of
`model.decoder.layer`.
"""

from querydet.config import get_config

_dac = get_config("common/models/dac_detr_plain.py").model

model = get_config("common/models/ms_detr_plain.py").model
model.decoder.second_stream = _dac.decoder.second_stream
model.criterion.rules.second_stream = _dac.criterion.rules.second_stream
