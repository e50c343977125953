"""How near the vectors of an export come to the model's own, on a fixed set of probe texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PROBES = (
    "red running shoes",
    "usb c charger 65w",
    "iphone 15 case",
    "tv",
    "4k monitor 27 inch",
    "women's waterproof hiking boots size 38",
    "wireles hedphones with noise canceling",
    "gift for a ten year old who likes dinosaurs",
    "Bosch Series 4 WAN28281GB 8kg 1400 rpm washing machine, white",
    "SAMSUNG Galaxy S23 Ultra 256GB, Phantom Black, unlocked, dual SIM",
    "organic oat milk, 6 x 1 l",
    "laptop under 500",
    "coffee beans",
    "replacement water filter for LG refrigerator LT1000P",
    "A set of three non-stick frying pans with removable handles, dishwasher safe, for gas, electric and induction hobs.",
    "cheap",
    "B07XJ8C8F5",
    "!!! SALE !!! 50% off -- today only",
    "无线蓝牙耳机",
    "女士连衣裙 夏季 碎花",
    "儿童自行车 16寸 适合5岁",
    "手机壳",
    "茶叶 礼盒装 250克",
    "跑步鞋 男 透气",
    "这款电饭煲可以预约定时吗?容量是多少升,适合几个人使用?",
    "华为 Mate 60 Pro 12GB+512GB 雅川青",
    "小米 Mi Band 8 smart watch 手环",
    "Nike 男款 running shoes 42码",
    "SK-II 神仙水 230ml facial treatment essence",
    "ゲーミングキーボード 赤軸",
    "zapatillas de correr para mujer",
    "Kaffeemaschine mit Mahlwerk",
    "беспроводные наушники",
    "🎧🔥",
    "The jacket is light and warm. It keeps the wind out on the bike, and after two winters the zip still runs smoothly. "
    "I bought it one size larger to wear a pullover below it. The pockets could be deeper, and the hood does not fit over a helmet, "
    "but for the price there is nothing better in the shops here. " * 6,
    "这款羽绒服非常轻便保暖,骑车时也能挡风。穿了两个冬天,拉链依然顺滑。我买大了一码,里面可以穿毛衣。" * 12,
)
"""Of the kinds of text that shops know: English, Chinese, mixed and other languages; a word to beyond a model's longest input."""


@dataclass(frozen=True)
class Agreement:
    """How well an export's vectors of the probe texts agree with torch's.

    Parameters
    ----------
    mean_cosine, least_cosine : float or None
        Of each text's two vectors; None where the two lie in different spaces.
    similarity_correlation : float
        Of the cosines between all pairs of different texts in the one space with those in the other; 1 means that
        the export ranks neighbours as torch does.
    """

    mean_cosine: float | None
    least_cosine: float | None
    similarity_correlation: float

    @classmethod
    def of(cls, torch_vectors: np.ndarray, vectors: np.ndarray, *, same_space: bool) -> Agreement:
        """Compare the vectors of the same texts."""
        expected, found = _unit(torch_vectors), _unit(vectors)
        pairs = np.triu_indices(len(expected), 1)
        correlation = np.corrcoef((expected @ expected.T)[pairs], (found @ found.T)[pairs])[0, 1]
        cosines = (expected * found).sum(axis=1) if same_space else None
        return cls(
            mean_cosine=None if cosines is None else float(cosines.mean()),
            least_cosine=None if cosines is None else float(cosines.min()),
            similarity_correlation=float(correlation),
        )


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)
