"""What a request asks for, without the words that only ask."""

import pytest

from registry.text.request_frames import what_is_asked


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        ("我想要一张猫的图", "猫"),
        ("帮我找黑色剪影", "黑色剪影"),
        ("有没有金色的动物？", "金色的动物"),
        ("给我来一个像素风的", "像素风"),
        ("求一个水墨风格的lora", "水墨风格"),
        ("推荐一些国风模型", "国风"),
        ("帮我找一个能画猫的模型", "猫"),
        ("来张猫", "猫"),
        ("有没有毛呢酒吧的吗！！", "毛呢酒吧"),
        ("请帮我画一张水彩风格的狐狸。", "水彩风格的狐狸"),
        ("什么lora适合做表情包", "表情包"),
        ("我想要一張貓的圖", "猫"),
        ("有沒有霓虹燈的lora", "霓虹灯"),
    ],
)
def test_what_only_asks_is_left_out(request_: str, asked: str) -> None:
    assert what_is_asked(request_) == asked


@pytest.mark.parametrize(
    "text",
    [
        *(
            "我的世界",
            "能天使",
            "求婚",
            "求生之路",
            "想象",
            "来生",
            "找茬",
            "哪吒",
            "推荐",
            "有没有",
        ),
        *(
            "有没有",
            "画皮",
            "画家",
            "黑色剪影",
            "黑色線稿",
            "black line art of animals",
            "find me a fox",
        ),
        "",
    ],
)
def test_names_and_descriptions_stay_as_they_are(text: str) -> None:
    assert what_is_asked(text) == text
