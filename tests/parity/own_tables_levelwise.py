"""The table of DN-DETR with a deformable encoder, as those of `tests.parity.own_tables`."""

DN_DEFORMABLE_ENCODER = """
    hidden_dim              256     32       64      32       96      32
    nheads                  8       4        2       16       6       1
    num_feature_levels      4       3        2       5        2       3
    enc_layers              6       2        1       1        3       2
    dec_layers              6       2        3       3        2       4
    enc_n_points            4       2        3       1        5       6
    dim_feedforward         2048    24       40      16       36      20
    transformer_activation  'relu'  'prelu'  'relu'  'prelu'  'relu'  'prelu'
    num_queries             300     9        6       12       7       5
    num_patterns            3       2        0       1        4       0
    num_classes             91      12       17      9        15      21
    pe_temperatureH         20      10       35      10000    50      7
    pe_temperatureW         20      30       35      500      8       7
    scalar                  5       3        1       2        7       4
    label_noise_scale       0.2     0.5      0.9     0.35     0.0     0.7
    box_noise_scale         0.4     0.8      1.0     0.15     0.6     0.0
    focal_alpha             0.25    0.4      0.15    0.7      0.33    0.55
    set_cost_class          2       1        3.5     0.5      4       2.5
    set_cost_bbox           5       3        2       7        1       4
    set_cost_giou           2       4        1       0.3      3       5
    cls_loss_coef           1       1.5      0.5     3        2.5     2
    bbox_loss_coef          5       2        7       4        1       3
    giou_loss_coef          2       3        1.5     0.5      4       2.5
    num_select              300     17       9       40       12      5
    images                  -       two      one     four     map16   deep
    seed                    -       0        0       0        0       0
"""
