"""Models of timm, chosen for their differences: one or two of a family, with random weights."""

from __future__ import annotations

from functools import partial

from torch import nn

from benchmarks.zoo.operators import declare_operators
from benchmarks.zoo.subject import Build, Subject, of_images

IMAGE = 64
SIZES = {"inception_v4": 96}
ANY_SIZE = """
    efficientvit_b0 mobilenetv4_conv_small xcit_nano_12_p16_224 poolformer_s12 convmixer_768_32 nf_resnet26
    resnetv2_50 res2net50_26w_4s skresnet18 resnest14d hrnet_w18_small ghostnet_100 edgenext_xx_small davit_tiny dla34
    fastvit_t8 mobilevit_xxs convnextv2_atto repvgg_a0 dpn68 vovnet39a inception_v4 nasnetalarge xception41
    crossvit_tiny_240 twins_pcpvt_small mvitv2_tiny focalnet_tiny_srf selecsls42b sequencer2d_s lambda_resnet26t
    cspdarknet53 tresnet_m resnet10t seresnet33ts ese_vovnet19b_dw rexnet_100 tinynet_a fbnetc_100 hardcorenas_a
    lcnet_050 mixnet_s regnetz_040 darknet53 gernet_s eca_resnet33ts gcresnet33ts resnext26ts repghostnet_050
    starnet_s1 inception_next_tiny mambaout_femto pvt_v2_b0 tiny_vit_5m_224 swiftformer_xs ghostnetv2_100
"""
OWN_SIZE = """
    deit_tiny_patch16_224 mixer_s32_224 resmlp_12_224 gmlp_ti16_224 swinv2_tiny_window8_256 coatnet_0_rw_224
    pit_ti_224 levit_128s botnet26t_256 eva02_tiny_patch14_224 cait_xxs24_224 volo_d1_224 halonet26t visformer_tiny
    tnt_s_patch16_224 gcvit_xxtiny maxxvit_rmlp_nano_rw_256 beit_base_patch16_224 hiera_tiny_224 efficientformer_l1
    efficientformerv2_s0 nest_tiny convit_tiny coat_lite_tiny vit_relpos_small_patch16_224 flexivit_small
"""
"""Models that take images of the one size that they were built for."""


def timm_models() -> dict[str, Build]:
    """A builder for each name, under `timm/`."""
    return {f"timm/{name}": partial(_subject, name) for name in (ANY_SIZE + OWN_SIZE).split()}


def _subject(name: str) -> Subject:
    declare_operators()
    import timm

    module: nn.Module = timm.create_model(name, pretrained=False)
    size = int(module.default_cfg["input_size"][-1]) if name in OWN_SIZE.split() else SIZES.get(name, IMAGE)
    return of_images(module, 3, size, size)
