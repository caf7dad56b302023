"""VOC annotations as tools write them: what an object lacks is named, numbers may be written as 60.0."""

import pytest
from layouts import annotation

from burn.data.official.vocfiles import objects
from burn.errors import UserError

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
CAT = f"<object><name>cat</name>{BOX}</object>"
SIZE = (80, 40)


def read(tmp_path, *parts: str, size="<size><width>80</width><height>40</height></size>"):
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation>{size}{''.join(parts)}</annotation>")
    return objects(path, SIZE)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("<object><name>dog</name><polygon><x1>1</x1><y1>2</y1></polygon></object>",
         "object 2 ('dog'): found no bndbox; expected one with xmin, ymin, xmax, ymax"),
        (f"<object>{BOX}</object>", "object 2: found no name; expected its class"),
        (f"<object><name/>{BOX}</object>", "object 2: found no name; expected its class"),
        (f"<object><name> </name>{BOX}</object>", "object 2: found no name; expected its class"),
        (CAT.replace("<ymin>2</ymin>", ""), "object 2 ('cat'): ymin: missing; expected a number"),
        (CAT.replace("<ymin>2</ymin>", "<ymin/>"), "object 2 ('cat'): ymin: found ''; expected a number"),
        (CAT.replace(">30<", ">30,5<"), "object 2 ('cat'): xmax: found '30,5'; expected a number"),
        (CAT.replace(">30<", "><deep/><"), "object 2 ('cat'): xmax: found ''; expected a number"),
    ],
)  # fmt: skip
def test_what_an_object_lacks_is_named(tmp_path, second, said):
    with pytest.raises(UserError) as error:
        read(tmp_path, CAT, second)
    assert str(error.value) == f"{tmp_path / 'a.xml'}: {said}"


@pytest.mark.parametrize("side", ["80.0", " 80 ", "8e1", "0", "", "0.0"])
def test_sizes_may_be_written_as_other_numbers_are(tmp_path, side):
    size = f"<size><width>{side}</width><height>40.0</height></size>"
    assert len(read(tmp_path, CAT, size=size)) == 1


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("<size><width>60.0</width><height>40</height></size>",
         "found the size 60 x 40; expected that of the image, 80 x 40"),
        ("<size><width>80.5</width><height>40</height></size>",
         "found the size 80.5 x 40; expected that of the image, 80 x 40"),
        ("<size><width>80 px</width><height>40</height></size>",
         "size: width: found '80 px'; expected a number"),
    ],
)  # fmt: skip
def test_another_size_is_named(tmp_path, size, said):
    with pytest.raises(UserError) as error:
        read(tmp_path, CAT, size=size)
    assert str(error.value) == f"{tmp_path / 'a.xml'}: {said}"


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width/><height>40</height></size>"])
def test_an_annotation_may_say_no_size(tmp_path, size):
    assert read(tmp_path, CAT, size=size) == [("cat", False, (0.0, 1.0, 30.0, 40.0))]


@pytest.mark.parametrize(("said", "difficult"), [
    ("1", True), ("1.0", True), ("True", True), ("0", False), ("", False), ("false", False)
])  # fmt: skip
def test_difficult_is_read_as_tools_write_it(tmp_path, said, difficult):
    found = read(tmp_path, CAT.replace("</name>", f"</name><difficult>{said}</difficult>"))
    assert found[0][1] is difficult


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (annotation([("cat", 0, (1, 1, 9, 9))])[:80], "found no whole XML (line 1, column 78)"),
        ("", "found no whole XML (line 1, column 0)"),
        ('{"shapes": []}', "found no whole XML (line 1, column 0)"),
        ('<?xml version="1.0" encoding="none"?><annotation/>', "found no XML that can be read"),
    ],
)
def test_what_is_no_annotation_is_one_plain_line(tmp_path, content, found):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(UserError) as error:
        objects(tmp_path / "a.xml", SIZE)
    assert str(error.value) == f"{tmp_path / 'a.xml'}: {found}; expected a VOC annotation"


def test_another_kind_of_xml_is_no_annotation_without_objects(tmp_path):
    (tmp_path / "a.xml").write_text("<html><body>Please log in</body></html>")
    with pytest.raises(
        UserError, match="a.xml: found <html>; expected <annotation>, as VOC has it"
    ):
        objects(tmp_path / "a.xml", SIZE)
