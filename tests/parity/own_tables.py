"""Tables of our own configurations, for the oracles of `tests/reference/detectors`.

A table has a line for each option: its name in the released code, the value there, and one value for each of our
configurations. `images` names a batch of `BATCHES`, and `seed` decides weights, maps and objects. Seeds are such that
no choice hangs on rounding: a selection, a match or a suppression.
"""

from dataclasses import dataclass

from tests.parity.own_tables_levelwise import DN_DEFORMABLE_ENCODER


@dataclass(frozen=True)
class Batch:
    """Images as a backbone would pass them on.

    Args:
        sizes: height and width of each image.
        maps: channels and stride of each map.
        objects: number of objects of each image.
        crowd: the same where some images have none, or one many.
    """

    sizes: tuple[tuple[int, int], ...]
    maps: tuple[tuple[int, int], ...]
    objects: tuple[int, ...]
    crowd: tuple[int, ...]


BATCHES = {
    "one": Batch(((64, 48),), ((5, 8), (7, 16)), (3,), (9,)),
    "map16": Batch(((48, 64), (40, 40), (33, 64)), ((9, 16),), (2, 3, 1), (9, 0, 1)),
    "map8": Batch(((40, 48), (48, 24), (32, 48)), ((7, 8),), (1, 2, 3), (0, 8, 1)),
    "two": Batch(((48, 64), (64, 40)), ((8, 8), (12, 16)), (4, 1), (11, 0)),
    "wide": Batch(((40, 80), (64, 24)), ((10, 8), (8, 16)), (2, 4), (0, 12)),
    "three": Batch(((40, 56), (33, 48), (48, 24)), ((7, 8), (9, 16)), (1, 2, 4), (7, 0, 1)),
    "deep": Batch(((64, 80), (64, 56)), ((6, 8), (9, 16), (12, 32)), (3, 2), (0, 10)),
    "four": Batch(((32, 40), (40, 32), (24, 40), (40, 40)), ((8, 8), (6, 16), (11, 32)), (1, 0, 3, 2), (0, 6, 0, 13)),
}

DEFORMABLE = """
    two_stage           False  False  False  False  False  True   True   True   True
    with_box_refine     False  False  False  True   True   True   True   True   True
    mixed_selection     False  False  False  False  False  False  False  True   True
    look_forward_twice  False  False  False  False  True   False  True   False  True
    hidden_dim          256    32     64     32     32     32     64     32     96
    nheads              8      4      2      16     1      4      16     2      6
    num_feature_levels  4      1      3      2      5      3      5      2      3
    enc_layers          6      1      2      3      1      2      1      3      1
    dec_layers          6      2      1      3      2      2      3      1      4
    enc_n_points        4      3      1      2      5      2      1      3      6
    dec_n_points        4      2      5      1      3      3      2      6      1
    dim_feedforward     1024   40     24     48     20     16     40     28     36
    num_queries         300    7      12     5      9      8      11     6      10
    num_classes         91     3      1      5      8      4      2      9      6
    focal_alpha         0.25   0.4    0.1    0.7    0.33   0.6    0.15   0.5    0.35
    set_cost_class      2      1      3.5    0.5    4      1.5    2.5    6      0.7
    set_cost_bbox       5      3      2      7      1      4      6.5    0.5    8
    set_cost_giou       2      4      1      0.3    3      5      1.5    2.5    0.9
    cls_loss_coef       2      1.5    0.5    3      2.5    1.25   4      0.75   1.75
    bbox_loss_coef      5      2      7      4      1      3.5    6      8      2.25
    giou_loss_coef      2      3      1.5    0.5    4      2.5    1      3.25   0.25
    topk_eval           100    15     6      20     37     23     9      31     44
    images              -      map16  deep   one    four   two    wide   map8   three
    seed                -      0      0      0      0      0      5      0      0
"""

DN_DETR = """
    hidden_dim          256   32   64    32    96     32
    nheads              8     4    2     16    6      1
    num_feature_levels  4     3    2     5     1      3
    enc_layers          6     2    1     1     3      2
    dec_layers          6     2    3     3     2      4
    enc_n_points        4     2    3     1     5      6
    dec_n_points        4     3    1     2     6      5
    dim_feedforward     2048  24   40    16    36     20
    num_queries         300   9    6     12    7      5
    num_classes         91    12   17    9     15     21
    scalar              5     3    1     2     7      4
    label_noise_scale   0.2   0.5  0.9   0.35  0.0    0.7
    box_noise_scale     0.4   0.8  1.0   0.15  0.6    0.0
    focal_alpha         0.25  0.4  0.15  0.7   0.33   0.55
    set_cost_class      2     1    3.5   0.5   4      2.5
    set_cost_bbox       5     3    2     7     1      4
    set_cost_giou       2     4    1     0.3   3      5
    cls_loss_coef       1     1.5  0.5   3     2.5    2
    bbox_loss_coef      5     2    7     4     1      3
    giou_loss_coef      2     3    1.5   0.5   4      2.5
    images              -     two  one   four  map16  deep
    seed                -     0    0     0     0      0
"""

DINO = """
    hidden_dim                  256        32         64         32         96         32
    nheads                      8          4          2          16         6          1
    num_feature_levels          4          3          5          2          1          3
    enc_layers                  6          2          1          3          1          2
    dec_layers                  6          2          3          1          4          2
    enc_n_points                4          2          1          3          5          6
    dec_n_points                4          3          2          6          1          5
    dim_feedforward             2048       24         40         16         36         20
    num_queries                 900        8          6          9          7          5
    num_classes                 91         4          2          7          3          1
    focal_alpha                 0.25       0.4        0.15       0.7        0.33       0.55
    decoder_module_seq          sa_ca_ffn  ca_sa_ffn  sa_ffn_ca  ffn_ca_sa  ffn_sa_ca  ca_ffn_sa
    dec_pred_class_embed_share  True       False      True       False      True       False
    dec_pred_bbox_embed_share   True       False      True       False      True       False
    embed_init_tgt              True       False      True       True       False      True
    use_detached_boxes_dec_out  False      False      True       True       False      True
    pe_temperatureH             20         10         35         10000      50         7
    pe_temperatureW             20         10         35         10000      50         7
    dn_number                   100        60         4          55         1          3
    dn_label_noise_ratio        0.5        0.8        1.0        0.3        0.0        0.9
    dn_box_noise_scale          1.0        0.4        1.5        0.7        0.2        0.0
    dn_labelbook_size           91         4          6          7          5          1
    set_cost_class              2          1          3.5        0.5        4          2.5
    set_cost_bbox               5          3          2          7          1          4
    set_cost_giou               2          4          1          0.3        3          5
    cls_loss_coef               1          1.5        0.5        3          2.5        2
    bbox_loss_coef              5          2          7          4          1          3
    giou_loss_coef              2          3          1.5        0.5        4          2.5
    interm_loss_coef            1          0.5        2          1.5        0.25       3
    num_select                  300        17         9          40         12         5
    images                      -          two        wide       three      map16      deep
    seed                        -          0          0          0          0          0
"""

MS_DETR = """
    two_stage              True   True   True   True   True   True
    with_box_refine        True   True   True   True   True   True
    use_ms_detr            True   True   True   True   True   True
    mixed_selection        False  True   False  True   False  True
    look_forward_twice     False  False  True   True   False  True
    use_aux_ffn            False  True   False  False  True   True
    hidden_dim             256    32     64     32     96     32
    nheads                 8      4      2      16     6      1
    num_feature_levels     4      3      2      5      1      3
    enc_layers             6      2      1      1      3      2
    dec_layers             6      2      3      1      2      4
    enc_n_points           4      2      3      1      5      6
    dec_n_points           4      3      1      2      6      5
    dim_feedforward        1024   24     40     16     36     20
    num_queries            300    16     12     11     9      14
    num_classes            91     4      2      7      3      1
    focal_alpha            0.25   0.4    0.15   0.7    0.33   0.55
    set_cost_class         2      1      3.5    0.5    4      2.5
    set_cost_bbox          5      3      2      7      1      4
    set_cost_giou          2      4      1      0.3    3      5
    cls_loss_coef          2      1.5    0.5    3      2.5    1
    bbox_loss_coef         5      2      7      4      1      3
    giou_loss_coef         2      3      1.5    0.5    4      2.5
    o2m_cls_loss_coef      2      0.5    3      1      4      1.5
    o2m_bbox_loss_coef     5      4      2      6      3      7
    o2m_giou_loss_coef     2      1      4      2.5    0.5    3
    enc_cls_loss_coef      2      3      1      0.5    1.5    4
    enc_bbox_loss_coef     5      1      6      2      7      4
    enc_giou_loss_coef     2      0.5    2.5    4      1      3
    topk_eval              100    25     14     50     20     13
    o2m_matcher_k          6      2      3      4      5      1
    o2m_matcher_threshold  0.4    0.3    0.2    0.5    0.6    0.25
    use_indices_merge      False  True   False  True   False  True
    images                 -      two    three  four   map16  deep
    seed                   -      0      4      1      8      0
"""

DETA = """
    assign_first_stage   True  True   False  True  False  True
    assign_second_stage  True  False  True   True  False  True
    two_stage            True  True   True   True  True   True
    with_box_refine      True  True   True   True  True   True
    hidden_dim           256   32     64     32    96     32
    nheads               8     4      2      16    6      1
    num_feature_levels   5     3      2      4     1      3
    enc_layers           6     2      1      1     3      2
    dec_layers           6     2      3      1     2      4
    enc_n_points         4     2      3      1     5      6
    dec_n_points         4     3      1      2     6      5
    dim_feedforward      2048  24     40     16    36     20
    num_queries          900   14     12     10    8      11
    num_classes          91    8      2      7     13     1
    focal_alpha          0.25  0.4    0.15   0.7   0.33   0.55
    set_cost_class       2     1      3.5    0.5   4      2.5
    set_cost_bbox        5     3      2      7     1      4
    set_cost_giou        2     4      1      0.3   3      5
    cls_loss_coef        1     1.5    0.5    3     2.5    2
    bbox_loss_coef       5     2      7      4     1      3
    giou_loss_coef       2     3      1.5    0.5   4      2.5
    stage1_low           0.3   0.05   0.1    0.06  0.4    0.04
    stage1_high          0.7   0.12   0.6    0.1   0.8    0.08
    stage1_k             4     3      3      2     5      6
    stage1_samples       256   20     20     30    30     40
    stage1_fraction      0.5   0.4    0.6    0.3   0.7    0.25
    stage2_threshold     0.6   0.5    0.05   0.1   0.7    0.02
    stage2_k             4     3      2      5     6      3
    stage2_fraction      0.25  0.4    0.2    0.5   0.3    0.15
    pre_nms_topk         1000  5      30     4     40     3
    nms_iou              0.9   0.1    0.6    0.15  0.8    0.05
    post_nms_iou         0.7   0.6    0.5    0.4   0.3    0.8
    post_keep            100   20     8      30    12     10
    images               -     two    three  four  map16  deep
    seed                 -     3      4      3     1      2
"""

GROUP_DETR = """
    hidden_dim       256   32     64    16     48     32
    nheads           8     4      2     16     6      1
    enc_layers       6     2      1     3      1      2
    dec_layers       6     2      3     3      4      2
    dim_feedforward  2048  24     40    16     36     20
    num_queries      300   6      4     9      5      34
    group_detr       11    3      5     2      4      1
    num_classes      91    20     27    15     22     3
    focal_alpha      0.25  0.4    0.15  0.7    0.33   0.55
    set_cost_class   2     1      3.5   0.5    4      2.5
    set_cost_bbox    5     3      2     7      1      4
    set_cost_giou    2     4      1     0.3    3      5
    cls_loss_coef    2     1.5    0.5   3      2.5    1
    bbox_loss_coef   5     2      7     4      1      3
    giou_loss_coef   2     3      1.5   0.5    4      2.5
    images           -     map16  map8  map16  map16  map8
    seed             -     0      0     0      0      0
"""

H_DETR = """
    mixed_selection                         True   False  True   False  True   True
    transformer.decoder.look_forward_twice  True   False  False  True   True   False
    embed_dim                               256    32     64     32     96     32
    transformer.encoder.num_heads           8      4      2      16     6      1
    transformer.num_feature_levels          4      3      2      5      1      3
    transformer.encoder.num_layers          6      2      1      1      3      2
    transformer.decoder.num_layers          6      2      3      1      2      4
    transformer.encoder.feedforward_dim     2048   24     40     16     36     20
    num_queries_one2one                     300    7      6      9      5      4
    num_queries_one2many                    1500   9      11     6      7      10
    k_one2many                              6      2      3      4      1      5
    lambda_one2many                         1.0    0.5    2.0    1.5    0.25   3.0
    num_classes                             80     4      2      7      3      1
    criterion.alpha                         0.25   0.4    0.15   0.7    0.33   0.55
    criterion.gamma                         2.0    1.5    3.0    1.0    2.5    0.5
    criterion.matcher.alpha                 0.25   0.3    0.5    0.1    0.6    0.45
    criterion.matcher.gamma                 2.0    1.0    2.5    3.0    1.5    1.25
    criterion.matcher.cost_class            2.0    1.0    3.5    0.5    4.0    2.5
    criterion.matcher.cost_bbox             5.0    3.0    2.0    7.0    1.0    4.0
    criterion.matcher.cost_giou             2.0    4.0    1.0    0.3    3.0    5.0
    class_weight                            2.0    1.5    0.5    3.0    2.5    1.0
    bbox_weight                             5.0    2.0    7.0    4.0    1.0    3.0
    giou_weight                             2.0    3.0    1.5    0.5    4.0    2.5
    position_embedding.temperature          10000  20     500    35     100    3000
    position_embedding.offset               -0.5   0.0    -0.3   -0.1   -0.7   0.25
    select_box_nums_for_evaluation          300    20     9      33     14     4
    images                                  -      two    three  four   map16  deep
    seed                                    -      0      0      1      0      0
"""
TABLES = {  # by the adapter of the recordings
    "deformable": DEFORMABLE,
    "dn_dab_deformable": DN_DETR,
    "dn_deformable_encoder_only": DN_DEFORMABLE_ENCODER,
    "dino": DINO,
    "ms_detr": MS_DETR,
    "ms_detr_impl_a": MS_DETR,
    "deta": DETA,
    "group_detr_official": GROUP_DETR,
    "detrex_h_deformable": H_DETR,
}

IMPLEMENTATION_A = """
    seed  -  0  4  1  1  0
"""  # of MS-DETR: it has not all options of the other, and needs other seeds
NOT_IN_A = ("mixed_selection", "look_forward_twice", "use_aux_ffn")
