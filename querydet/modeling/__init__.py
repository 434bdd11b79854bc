"""The model, ordered by stage.

A detector (`detector`; `meta_arch` holds those of the papers) runs `backbones`, `neck`, `encoder`, `selection`,
`queries` (denoising), `decoder` and `heads`. Training adds `targets`, `criterion`, `assigners`, `losses` and
`normalizers`, inference adds `postprocess`. `compatibility` checks that the parts fit together; `layers`, `boxes` and
`geometry` serve all stages.
"""
