"""The list of classes to archive has those of the class path alone."""

from pathlib import Path

from deploy.flink.class_archive import leave_out_plugins

LISTED = """java/lang/Object id: 0
org/apache/flink/streaming/api/graph/StreamGraph id: 7
com/typesafe/config/ConfigException id: 8 super: 1 source: /tmp/flink-rpc-akka.jar
@lambda-proxy org/apache/flink/runtime/minicluster/MiniCluster run ()V
"""


def test_classes_of_plugins_are_left_out(tmp_path: Path) -> None:
    listed = tmp_path / "classes"
    listed.write_text(LISTED)

    leave_out_plugins(listed)

    assert listed.read_text().splitlines() == [line for line in LISTED.splitlines() if "typesafe" not in line]
