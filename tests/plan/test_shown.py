"""A preview as text, as files, as a comment and as a page."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pulumi_aws as aws
import pulumi_kubernetes as k8s
import yaml
from pulumi import Output, ResourceOptions

from infra.plan import manifests
from infra.plan.markdown import markdown
from infra.plan.preview import preview
from infra.plan.report import report
from infra.plan.text import text
from infra.plan.tree import tree
from tests.plan.tiny import Program, config_map, evaluated, network_and_cluster
from tests.policy.programs import TAGS, deployment, release

SECRET = "a-password-of-somebody"


def with_secret() -> None:
    k8s.core.v1.Secret("access", metadata={"name": "access"}, string_data={"key": Output.secret(SECRET)})


def test_the_tree_shows_each_resource_below_its_component() -> None:
    assert list(tree(evaluated(network_and_cluster)))[:4] == [
        "test",
        "├─ cluster  model-serving:infra:Cluster",
        "│  └─ dns  aws:eks/Addon",
        "├─ network  model-serving:infra:Network",
    ]


def test_a_chart_is_marked_as_expanding_at_deployment() -> None:
    assert list(tree(evaluated(release())))[1].endswith("(expands at deployment)")


def test_the_text_ends_with_all_of_it_in_a_few_words() -> None:
    lines = list(text(preview(evaluated(deployment(replicas=2)), evaluated(lambda: None), "main")))
    assert lines[-3:] == [
        "test: 1 resources",
        "19 policies, 1 violations, 0 warnings",
        "1 added (against main)",
    ]


def bucket(name: str, *, protect: bool = True) -> Program:
    def program() -> None:
        aws.s3.Bucket("models", bucket=name, tags=TAGS, opts=ResourceOptions(protect=protect))

    return program


def test_a_deletion_that_pulumi_refuses_is_said_to_be_refused() -> None:
    for after, protected in ((bucket("b"), bucket("a")), (lambda: None, bucket("a"))):
        shown = list(text(preview(evaluated(after), evaluated(protected), "main")))
        assert [line for line in shown if line.endswith("(protected: Pulumi will refuse)")]
        for page in (markdown, report):
            assert "Pulumi will refuse" in page(preview(evaluated(after), evaluated(protected), "main"))
    free = list(text(preview(evaluated(lambda: None), evaluated(bucket("a", protect=False)), "main")))
    assert not [line for line in free if "refuse" in line]


def test_a_long_value_is_cut_and_its_length_is_said() -> None:
    before, after = evaluated(config_map(data={"a": "x"})), evaluated(config_map(data={"a": "y" * 1000}))
    (line,) = (line for line in text(preview(after, before, "main")) if "data.a" in line)
    assert len(line) < 300
    assert line.endswith("(1002 characters)")


def test_no_secret_is_in_anything_that_is_shown_or_written(tmp_path: Path) -> None:
    found = preview(evaluated(with_secret), evaluated(lambda: None), "main")
    manifests.write(found.evaluation, tmp_path)
    written = [path.read_text() for path in tmp_path.rglob("*.yaml")]
    assert len(written) == 1
    for shown in ("\n".join(text(found)), markdown(found), report(found), *written):
        assert SECRET not in shown


def test_each_object_is_a_file_of_its_own_named_by_namespace_kind_and_name(tmp_path: Path) -> None:
    assert manifests.write(evaluated(config_map(data={"a": "1"})), tmp_path) == 1
    document = yaml.safe_load(Path(tmp_path, "gateway/configmap-routes.yaml").read_text())
    assert document == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "routes", "namespace": "gateway"},
        "data": {"a": "1"},
    }


def test_objects_that_are_gone_leave_no_file_behind(tmp_path: Path) -> None:
    manifests.write(evaluated(config_map("old")), tmp_path)
    manifests.write(evaluated(config_map("new")), tmp_path)
    assert [path.name for path in tmp_path.rglob("*.yaml")] == ["configmap-new.yaml"]


def test_files_of_anybody_else_in_the_folder_stay(tmp_path: Path) -> None:
    theirs = tmp_path / "docs/values.yaml"
    theirs.parent.mkdir()
    theirs.write_text("mine: 1\n")
    manifests.write(evaluated(config_map()), tmp_path)
    assert theirs.read_text() == "mine: 1\n"


def test_a_comment_stays_short_however_much_changes() -> None:
    def program() -> None:
        for number in range(300):
            config_map(f"map-{number}", data={"text": "x" * 500})()

    comment = markdown(preview(evaluated(program), evaluated(lambda: None), "main"))
    assert len(comment) < 30_000
    assert "lines more" in comment


def test_a_comment_stays_short_however_long_its_lines_become_by_being_made_harmless() -> None:
    def program(text: str) -> Callable[[], None]:
        return config_map(data={f"@everybody-{number}": text * 200 for number in range(300)})

    comment = markdown(preview(evaluated(program("<")), evaluated(program("&")), "main"))
    assert len(comment) < 30_000


def test_what_a_program_says_of_itself_becomes_no_markup_of_a_comment_and_calls_nobody() -> None:
    def program() -> None:
        config_map(data={"text": "</pre><img src=x> @everybody"})()

    comment = markdown(preview(evaluated(program), evaluated(config_map()), "main"))
    assert "<img" not in comment
    assert "@everybody" not in comment


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("href", "src", "xlink:href")]


def test_the_page_needs_no_script_and_nothing_from_elsewhere() -> None:
    content = report(preview(evaluated(network_and_cluster), evaluated(lambda: None), "main"))
    page = Page(content)
    assert page.tags.count("svg") == 2
    assert "script" not in page.tags
    assert page.links == []
    assert not re.search(r"url\((?!#)|@import", content)


def test_what_a_program_says_of_itself_becomes_no_markup_of_the_page() -> None:
    evil = evaluated(config_map("<script>alert(1)</script>", data={"<b>": "</style><script>"}))
    assert "script" not in Page(report(preview(evil, evaluated(lambda: None), "main"))).tags


def test_the_page_can_be_read_in_light_and_in_dark() -> None:
    content = report(preview(evaluated(network_and_cluster)))
    assert "prefers-color-scheme: dark" in content
    colors = set(re.findall(r"#[0-9a-f]{3,6}", content.partition("body {")[2].partition("</style>")[0]))
    assert colors == set()
