"""What a question says that it does not want."""

import pytest

from registry.text.unwanted import MOST_UNWANTED, Wish, read_wish, written_without


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("cat, not neon", "cat", ["neon"]),
        ("neon but not red", "neon", ["red"]),
        ("a cat without a hat in watercolor", "a cat in watercolor", ["hat"]),
        ("a dog with no collar and a cat", "a dog and a cat", ["collar"]),
        ("a cat that is not pink", "a cat", ["pink"]),
        ("a fox that doesn't smile", "a fox", ["smile"]),
        ("logo no text", "logo", ["text"]),
        ("portrait (no glasses)", "portrait", ["glasses"]),
        ("hat without cats or dogs", "hat", ["cats", "dogs"]),
        ("watercolor instead of oil painting of a fox", "watercolor of a fox", ["oil painting"]),
        ("animals except cats", "animals", ["cats"]),
        ("anime girl without glasses long hair", "anime girl long hair", ["glasses"]),
        ("a girl without red glasses long hair", "a girl long hair", ["red glasses"]),
        ("landscape no people watercolor style", "landscape watercolor style", ["people"]),
        ("sticker no background cute cat", "sticker cute cat", ["background"]),
        ("portrait without makeup natural light", "portrait natural light", ["makeup"]),
        ("girl without glasses pls", "girl pls", ["glasses"]),
        ("poster no text watermark cute cat", "poster cute cat", ["text watermark"]),
        ("knight without face mask long hair", "knight long hair", ["face mask"]),
        ("landscape no people around", "landscape", ["people around"]),
        ("I don't want anime, I want realistic", "I want realistic", ["anime"]),
        ("a girl not wearing a hat, red dress", "a girl, red dress", ["hat"]),
        ("a girl who doesn't need glasses", "a girl", ["glasses"]),
        ("cat, no collar in watercolor", "cat in watercolor", ["collar"]),
        ("girl, no face", "girl", ["face"]),
        ("crowd no faces", "crowd", ["faces"]),
        ("knight no face mask", "knight", ["face mask"]),
        ('cat -"line art" -red', "cat", ["line art", "red"]),
        ("没有文字的猫", "猫", ["文字"]),
        ("霓虹，不要红色", "霓虹", ["红色"]),
        ("不是霓虹的猫", "猫", ["霓虹"]),
        ("除了猫以外的动物", "动物", ["猫"]),
        ("水彩，不要人物和文字", "水彩", ["人物", "文字"]),
        ("動物，沒有貓", "動物", ["貓"]),
        ("动物 -猫", "动物", ["猫"]),
        ("动物 －猫", "动物", ["猫"]),
        ("女孩，不戴眼镜", "女孩", ["眼镜"]),
        ("没戴眼镜的女孩", "女孩", ["眼镜"]),
        ("不穿鞋的女孩", "女孩", ["鞋"]),
        ("没人的街道", "街道", ["人"]),
        ("海报，不需要文字", "海报", ["文字"]),
        ("海报不能有文字", "海报", ["文字"]),
        ("写实人像，不要动漫！", "写实人像", ["动漫"]),
        ("写实人像，不要动漫?", "写实人像", ["动漫"]),
        ("写实人像，不要动漫~", "写实人像", ["动漫"]),
        ("写实人像（不要动漫）", "写实人像", ["动漫"]),
        ("写实人像，不要动漫的", "写实人像", ["动漫"]),
        ("我不要动漫，我要写实", "我要写实", ["动漫"]),
        ("海报，无文字", "海报", ["文字"]),
        ("海报 无文字 无水印", "海报", ["文字", "水印"]),
        ("白色背景，无人物", "白色背景", ["人物"]),
        ("无水印高清壁纸", "高清壁纸", ["水印"]),
        ("海報，無文字", "海報", ["文字"]),
        ("anime girl，no glasses", "anime girl", ["glasses"]),
        ("portrait（no text）smiling", "portrait smiling", ["text"]),
    ],
)
def test_what_is_not_wanted_is_taken_out(text: str, wanted: str, unwanted: list[str]) -> None:
    assert read_wish(text) == Wish(wanted, tuple(unwanted))


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("cat, not sd 1.5", "cat", ["sd 1.5"]),
        ("a cat, not flux.1 dev", "a cat", ["flux.1 dev"]),
        ("a cat, not sdxl 1.0. smiling", "a cat. smiling", ["sdxl 1.0"]),
        ("cat -sd1.5 -flux.1-dev", "cat", ["sd1.5", "flux.1-dev"]),
        ("cat -red.", "cat.", ["red"]),
        ("国风，不要SD1.5", "国风", ["SD1.5"]),
        ("国风 不要flux.1", "国风", ["flux.1"]),
        ("人像，不要SDXL1.0和SD1.5.", "人像.", ["SDXL1.0", "SD1.5"]),
    ],
)
def test_a_version_is_no_end_of_what_is_not_wanted(
    text: str, wanted: str, unwanted: list[str]
) -> None:
    assert read_wish(text) == Wish(wanted, tuple(unwanted))


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("女孩，不要和服", "女孩", ["和服"]),
        ("海报，不要埃及风", "海报", ["埃及风"]),
        ("不要柔和光和文字的海报", "海报", ["柔和光", "文字"]),
        ("海报，不要文字以及水印", "海报", ["文字", "水印"]),
        ("海报，没有重要的人", "海报 人", ["重要"]),
        ("不要戴眼镜和帽子的女孩", "女孩", ["戴眼镜", "帽子"]),
    ],
)
def test_chinese_words_are_not_cut_in_two(text: str, wanted: str, unwanted: list[str]) -> None:
    """和 is of 和服, and who wants none of that has nothing against all with 服."""
    assert read_wish(text) == Wish(wanted, tuple(unwanted))


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("海报，不要文字、水印的", "海报", ["文字", "水印"]),
        ("没有文字、水印的海报", "海报", ["文字", "水印"]),
        ("不戴帽子、眼镜的猫", "猫", ["帽子", "眼镜"]),
        ("風景，沒有人物、建築", "風景", ["人物", "建築"]),
        ("風景，沒有人物還有建築", "風景", ["人物", "建築"]),
        ("海报，不要文字/水印", "海报", ["文字", "水印"]),
        ("海报，不要文字／水印", "海报", ["文字", "水印"]),
        ("海报，无文字、水印", "海报", ["文字", "水印"]),
        ("海报，不要文字，可爱", "海报，可爱", ["文字"]),
    ],
)
def test_a_chinese_list_is_not_wanted_to_its_end(
    text: str, wanted: str, unwanted: list[str]
) -> None:
    assert read_wish(text) == Wish(wanted, tuple(unwanted))


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("猫，不要黑白要彩色", "猫 彩色", ["黑白"]),
        ("人像 不要动漫要写实", "人像 写实", ["动漫"]),
        ("不要红色要蓝色的龙", "蓝色的龙", ["红色"]),
        ("不要红色但要可爱的龙", "可爱的龙", ["红色"]),
        ("头像 不是动漫是真人", "头像 真人", ["动漫"]),
        ("不是猫而是狗", "狗", ["猫"]),
        ("头像，不要动漫，只要写实", "头像 写实", ["动漫"]),
        ("头像，不要动漫，是枝裕和", "头像，是枝裕和", ["动漫"]),
        ("不要动漫，要塞", "要塞", ["动漫"]),
        ("海报，不要文字不要水印", "海报", ["文字", "水印"]),
        ("没有文字没有水印的海报", "海报", ["文字", "水印"]),
        ("无文字无水印的海报", "海报", ["文字", "水印"]),
        ("海报无文字", "海报", ["文字"]),
        ("图标無背景無文字", "图标", ["背景", "文字"]),
    ],
)
def test_wishes_that_run_on_are_told_apart(text: str, wanted: str, unwanted: list[str]) -> None:
    assert read_wish(text) == Wish(wanted, tuple(unwanted))


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("没胡子的老人", "老人", ["胡子"]),
        ("沒鬍子的老人", "老人", ["鬍子"]),
        ("海报没文字", "海报", ["文字"]),
        ("海报，没人", "海报", ["人"]),
        ("海报，别有文字", "海报", ["文字"]),
        ("海報，別有文字", "海報", ["文字"]),
        ("海报别带水印", "海报", ["水印"]),
        ("海报，别出现文字", "海报", ["文字"]),
        ("非写实的人像", "人像", ["写实"]),
        ("非二次元的人像", "人像", ["二次元"]),
        ("非真人头像", "头像", ["真人"]),
        ("海报，不能出现人", "海报", ["人"]),
        ("风景，不想看到人", "风景", ["人"]),
        ("风景，避免人物", "风景", ["人物"]),
        ("海报，避免出现文字", "海报", ["文字"]),
        ("除人物以外的风景", "风景", ["人物"]),
    ],
)
def test_no_is_said_in_many_ways(text: str, wanted: str, unwanted: list[str]) -> None:
    assert read_wish(text) == Wish(wanted, tuple(unwanted))


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("海报，不要任何文字", "海报", ["文字"]),
        ("海报，不要出现文字", "海报", ["文字"]),
        ("海报，不要带文字", "海报", ["文字"]),
        ("海报，不要太油腻", "海报", ["油腻"]),
        ("头像，不要那种黑白的", "头像", ["黑白"]),
        ("猫，不要带鱼", "猫", ["带鱼"]),
        ("海报，不要太阳", "海报", ["太阳"]),
        ("海报，里面不要有文字", "海报", ["文字"]),
        ("海报图上不要有文字", "海报", ["文字"]),
        ("海报，画面里没有文字", "海报", ["文字"]),
        ("海報，圖片裡沒有文字", "海報", ["文字"]),
        ("白色背景没有文字", "白色背景", ["文字"]),
        ("海报，不要文字，也不要水印", "海报", ["文字", "水印"]),
        ("海报，最好不要有文字", "海报", ["文字"]),
        ("头像，不要动漫，要写实", "头像 写实", ["动漫"]),
    ],
)
def test_words_around_a_no_are_neither_wanted_nor_unwanted(
    text: str, wanted: str, unwanted: list[str]
) -> None:
    """A word that no adapter has would count more than all the others."""
    assert read_wish(text) == Wish(wanted, tuple(unwanted))


@pytest.mark.parametrize(
    "part",
    [
        "没太",
        "除人",
        "非写实、",
        "不要",
        "不要猫和",
        "没有a、",
        "无文字、",
        "除了猫和",
        "猫不要",
        "，也",
        "（不要",
        "不要1.",
        "not 1.",
        " -1.",
    ],
)
def test_a_hostile_text_is_read_in_time_that_grows_with_it(part: str) -> None:
    """The timeout is the check."""
    assert read_wish(part * 3_000).wanted


@pytest.mark.parametrize(
    "text",
    [
        "neon", "No Man's Sky", "not neon", "without text", "boku no hero", "why not",
        "forget-me-not flowers", "not only cats but also dogs", "anime not safe for work",
        "do not disturb sign", "Hatsune Miku -Racing-", "line-art cat", "cat not", "",
        "shiro (no game no life)", "shiro, no game no life", "spaceship, no man's sky",
        "dazai, no longer human", "travis (no more heroes)", "spider-man, no way home",
        "spirited away no face", "forget me not flowers", "touch me not plant",
        "有没有霓虹的lora", "不要", "要不要猫", "是不是猫",
        "没戴眼镜", "无文字", "能不能有文字", "要不要猫！", "戴不戴眼镜", "看不穿的谎言",
        "无人机", "猫，无人机", "无限", "无脸男", "千与千寻，无脸男", "虚无背景", "有无文字",
        "求生之路", "非遗", "别墅", "没落", "没落的贵族", "要塞", "是枝裕和", "除夕", "有人",
        "能天使", "会长", "找茬", "熊出没", "没头脑和不高兴", "除夕以外", "不是冤家不聚头",
        "不要猫以外的动物", "中国非遗", "非遗剪纸", "非主流", "别墅设计", "别有洞天", "性别有别",
        "熊出没的海报", "避免",
    ],
)  # fmt: skip
def test_what_may_be_a_name_stays_as_it_is(text: str) -> None:
    assert read_wish(text) == Wish(text)


def test_of_many_things_the_last_are_one_text() -> None:
    wish = read_wish("a flat icon, no outline, no shadow, no text, no gradient")

    assert wish == Wish("a flat icon", ("outline", "shadow", "text, gradient"))
    assert len(wish.unwanted) == MOST_UNWANTED


def test_titles_say_it_in_their_own_ways() -> None:
    assert "without handle" in written_without("Handle")
    assert "without line art" in written_without("line-art")
    assert "没有嘴" in written_without("嘴")
