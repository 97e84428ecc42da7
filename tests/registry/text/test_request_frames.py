"""What a request asks for, without the words that only ask."""

import pytest

from registry.text.request_frames import what_is_asked, words_asked


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


def test_a_word_for_every_adapter_is_looked_for_where_it_stands_alone() -> None:
    assert [word.text for word in words_asked("loras")] == ["lora"]
    assert [word.text for word in words_asked("a lora of cats")] == ["cat"]
    # Many descriptions begin with "Draws", and many captions speak of what is drawn.
    assert [word.text for word in words_asked("something that draws cats")] == ["cat"]
    assert words_asked("the of and 的了") == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("find me a fox", "fox"),
        ("Please find me a fox!", "fox"),
        ("can you find me a cute cat, please", "cute cat"),
        ("show me neon", "neon"),
        ("I need some foxes", "foxe"),
        ("I want to make pixel art", "pixel art"),
        ("which lora does pixel art", "pixel art"),
        ("I'm looking for a lora that does pixel art", "pixel art"),
        ("im looking for a good pixel art lora pls", "pixel art"),
        ("any good anime lora? 🙏", "anime"),
        ("what's the best anime lora", "anime"),
        ("best pixel art lora", "pixel art"),
        ("does anyone know a good lora for hands", "hand"),
        ("help me find a fox, thanks 👍", "fox"),
        ("cat 😂", "cat"),
    ],
)
def test_of_words_those_that_ask_in_english_are_left_out(request_: str, words: str) -> None:
    assert " ".join(word.text for word in words_asked(request_)) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Need for Speed", "need speed"),
        ("Show by Rock", "show rock"),
        ("The Truman Show", "truman show"),
        ("fashion show", "fashion show"),
        ("Looking for Alaska", "looking alaska"),
        ("Finding Nemo", "finding nemo"),
        ("Find the Cat", "find cat"),
        ("Please Teacher", "please teacher"),
        ("Best Jeanist", "best jeanist"),
        ("Good Omens", "good omen"),
        ("Help Wanted", "help wanted"),
        ("Jane Doe", "jane doe"),
        ("lora-smith", "lorasmith smith"),
        ("LoRA_XL v2", "loraxl v2"),
        ("can't wait", "cant wait"),
        ("please", "please"),
        ("find", "find"),
        ("any", "any"),
        ("😂", "face tear joy"),
        ("🤖 sticker", "robot face sticker"),
        ("😺 sticker", "smiling cat face open mouth sticker"),
    ],
)
def test_words_of_names_and_what_stands_alone_are_looked_for(text: str, words: str) -> None:
    assert " ".join(word.text for word in words_asked(text)) == words


@pytest.mark.parametrize("part", ["good ", "any ", "please ", "find me ", "\n", "i ", "🙏"])
def test_a_long_text_that_only_asks_takes_no_time(part: str) -> None:
    """Tried from each of its words, it would take minutes; the timeout is the check."""
    words_asked(part * 10_000 + "x")
