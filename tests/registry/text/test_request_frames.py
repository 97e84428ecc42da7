"""What a request asks for, without the words that only ask."""

import time

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
        ("有没有张若昀的lora", "张若昀"),
        ("推荐张予曦lora", "张予曦"),
        ("求张予曦lora", "张予曦"),
        ("帮我找张予曦的模型", "张予曦"),
        ("帮我找张猫的图", "猫"),
        ("我想要张猫的图", "猫"),
        ("给我来张猫", "猫"),
        ("有没有要乐奈的lora", "要乐奈"),
        ("有没有点兔的lora", "点兔"),
        ("推荐点国风lora", "国风"),
        ("来点国风的", "国风"),
        ("推荐款写实lora", "写实"),
        ("有什么好用的写实lora推荐吗", "写实"),
        ("有没有写实lora啊", "写实"),
        ("有没有写实的呢？", "写实"),
        ("有没有猫的lora吗？谢谢", "猫"),
        ("有没有猫的lora谢谢大佬", "猫"),
        ("有没有写实lora推荐一下", "写实"),
        ("有没有酒吧", "酒吧"),
        ("推荐毛呢", "毛呢"),
        ("谁有猫的lora", "猫"),
        ("谁有张若昀的lora？", "张若昀"),
        ("哪里有猫的lora", "猫"),
        ("大佬们有没有猫的lora", "猫"),
        ("各位大佬，有没有猫的lora", "猫"),
        ("跪求猫的lora", "猫"),
        ("有无猫的lora", "猫"),
        ("能推荐一个写实的lora吗", "写实"),
        ("可以推荐写实lora吗", "写实"),
        ("在找一个写实的lora", "写实"),
        ("我想画赛博朋克城市", "赛博朋克城市"),
        ("我想生成赛博朋克城市", "赛博朋克城市"),
        ("求助国风lora", "国风"),
        ("求问有没有国风lora", "国风"),
        ("求分享国风lora", "国风"),
        ("求大佬推荐国风lora", "国风"),
        ("有没有人有汉服lora", "汉服"),
        ("有没有人做过汉服lora", "汉服"),
        ("有没有人像lora", "人像"),
        ("麻烦帮我找下猫lora", "猫"),
        ("能帮我找一下猫lora吗", "猫"),
        ("能给我推荐几个猫lora吗", "猫"),
        ("有国风lora吗", "国风"),
        ("能不能画猫", "猫"),
        ("能不能来个不要文字的海报", "不要文字的海报"),
        ("想问一下有没有猫", "猫"),
        ("请问一下有没有猫", "猫"),
        ("需要国风lora", "国风"),
        ("找国风lora", "国风"),
        ("能画猫的lora", "猫"),
        ("会画猫的lora", "猫"),
        ("国风lora推荐", "国风"),
        ("國風lora推薦", "国风"),
        ("国风 lora 推荐", "国风"),
        ("国风lora有吗", "国风"),
        ("国风lora有没有？", "国风"),
        ("国风lora有哪些", "国风"),
        ("吉卜力风格怎么画", "吉卜力风格"),
        ("吉卜力风格用什么lora", "吉卜力风格"),
        ("国风lora哪个好", "国风"),
        ("有没有国风的 lora 模型 推荐", "国风"),
        ("给我画只猫", "猫"),
        ("给我来套表情包", "表情包"),
        ("给我来套娃", "套娃"),
        ("帮我找条漫", "条漫"),
        ("有没有位面lora", "位面"),
        ("画幅山水", "山水"),
        ("画个猫", "猫"),
        ("求国风lora🙏", "国风"),
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
            "有什么推荐吗",
            "跪求",
            "谢谢",
            "大佬",
            "张若昀",
            "要乐奈",
            "点兔",
            "有兽焉",
            "有无相生",
            "谁的青春不迷茫",
            "哪里都是你",
            "能登麻美子",
            "可可西里",
            "在路上",
            "我想画画",
            "我想和你唱",
            "我想吃掉你的胰脏",
            "酒吧",
            "画皮",
            "画家",
            "画个性头像",
            "好物推荐",
            "怎么画",
            "有人吗",
            "猫🙏",
            *("求生之路lora", "求婚场景lora", "求职证件照的lora", "找茬lora", "能天使lora"),
            *("会长lora", "有人lora", "无限lora", "非遗lora", "别墅lora", "没落lora", "要塞lora"),
            *("无限", "非遗", "别墅", "没落", "要塞", "是枝裕和", "除夕", "有人", "会长"),
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
    """Tried from each of its words, it would take minutes."""
    started = time.process_time()
    words_asked(part * 10_000 + "x")

    assert time.process_time() - started < 20  # of a processor


@pytest.mark.parametrize(
    "part", ["求", "有", "能画", "，", "推荐", "找猫lora", "套", "有没有", " "]
)
def test_a_long_request_takes_no_time_either(part: str) -> None:
    assert what_is_asked(part * 3_000 + "x")
