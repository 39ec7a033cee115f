"""An arm on a table in Isaac Sim, with the action graph that speaks our topics.

Run it with Isaac Sim's Python, vla_ros on PYTHONPATH (a sourced workspace) and the ROS 2 bridge's
libraries as NVIDIA describes:

    ~/isaacsim/python.sh stage.py --robot my_isaac_arm [--usd arm.usd] [--headless]
"""

from __future__ import annotations

import argparse
import math
import sys

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument('--robot', required=True, help='Robot file: a name or a path.')
parser.add_argument('--namespace', default='', help='Prefix of the topics, such as /left.')
parser.add_argument('--usd', default='', help='The arm as USD; else its URDF is imported.')
parser.add_argument('--headless', action='store_true', help='Open no window.')
options = parser.parse_args()

from isaacsim import SimulationApp  # noqa: E402  the application comes before all else of Isaac Sim

app = SimulationApp({'headless': options.headless})

from isaacsim.core.version import get_version  # noqa: E402
import omni.graph.core as og  # noqa: E402
import omni.kit.app  # noqa: E402
import omni.kit.commands  # noqa: E402
import omni.timeline  # noqa: E402
import omni.usd  # noqa: E402
from pxr import Gf, PhysxSchema, Sdf, Usd, UsdGeom, UsdLux, UsdPhysics  # noqa: E402
import usdrt.Sdf  # noqa: E402

from vla_ros import paths  # noqa: E402
from vla_ros.bridges.description import forward  # noqa: E402
from vla_ros.bridges.isaac import action_graph, Prims, READS_JOINTS, TICKS  # noqa: E402
from vla_ros.robot import load_robot  # noqa: E402

STEPS = 240  # [Hz] of the physics: four to a frame
TABLE = (1.3, 1.6, 0.7)  # [m] its top is z = 0
ARM = '/World/arm'  # of an arm that comes as USD


def release() -> str:
    """Return the first two numbers of Isaac Sim's version."""
    return '.'.join(get_version()[0].split('.')[:2])


def load_arm(robot) -> str:
    """Put the arm on the stage and return the path of its root."""
    if options.usd:
        prim = stage.DefinePrim(ARM, 'Xform')
        prim.GetReferences().AddReference(options.usd)
        return ARM
    if READS_JOINTS.get(release()):  # as from then on the importer has another face
        sys.exit('import the URDF by the menu or script of this Isaac Sim, and pass --usd.')
    _, settings = omni.kit.commands.execute('URDFCreateImportConfig')
    settings.merge_fixed_joints = False  # cameras are carried by links of fixed joints
    settings.fix_base = True
    settings.import_inertia_tensor = True
    settings.distance_scale = 1.0
    _, path = omni.kit.commands.execute(
        'URDFParseAndImportFile',
        urdf_path=str(robot.urdf_path),
        import_config=settings,
        get_articulation_root=True,
    )
    return path


def find_link(root: str, name: str) -> str:
    """Return the path of a link under the arm."""
    arm = stage.GetPrimAtPath(root)
    while arm.GetParent().GetPath() not in (Sdf.Path.absoluteRootPath, Sdf.Path('/World')):
        arm = arm.GetParent()
    for prim in Usd.PrimRange(arm):
        if prim.GetName() == name:
            return str(prim.GetPath())
    sys.exit(f"the arm has no link '{name}' under {arm.GetPath()}.")


def add_camera(camera, link: str) -> str:
    """Mount a camera and return its path. USD's cameras look along -z, with y up."""
    path = f'{link}/{camera.name}'
    prim = UsdGeom.Camera.Define(stage, path)
    x, y, z = forward(camera).T
    pose = Gf.Matrix4d(1.0)
    for row, axis in enumerate((-y, z, -x)):  # right, up, back
        pose.SetRow3(row, Gf.Vec3d(*axis.tolist()))
    pose.SetTranslateOnly(Gf.Vec3d(*camera.position))
    prim.AddTransformOp().Set(pose)
    # fx = fy: the apertures are to each other as width and height.
    focal = 0.5 * prim.GetVerticalApertureAttr().Get() / math.tan(0.5 * camera.fovy)
    prim.GetFocalLengthAttr().Set(focal)
    aspect = camera.width / camera.height
    prim.GetHorizontalApertureAttr().Set(aspect * prim.GetVerticalApertureAttr().Get())
    prim.GetClippingRangeAttr().Set(Gf.Vec2f(0.02, 100.0))
    return path


def add_table() -> None:
    """Add physics, light and a table that does not move."""
    scene = UsdPhysics.Scene.Define(stage, '/World/physics')
    scene.CreateGravityDirectionAttr().Set(Gf.Vec3f(0.0, 0.0, -1.0))
    scene.CreateGravityMagnitudeAttr().Set(9.81)
    PhysxSchema.PhysxSceneAPI.Apply(scene.GetPrim()).CreateTimeStepsPerSecondAttr(STEPS)
    UsdLux.DistantLight.Define(stage, '/World/sun').CreateIntensityAttr(1000.0)
    table = UsdGeom.Cube.Define(stage, '/World/table')
    table.CreateSizeAttr(1.0)
    table.AddTranslateOp().Set(Gf.Vec3d(0.35, 0.0, -0.5 * TABLE[2]))
    table.AddScaleOp().Set(Gf.Vec3f(*TABLE))
    UsdPhysics.CollisionAPI.Apply(table.GetPrim())


def build(graph) -> None:
    """Build the action graph."""

    def value(given):
        paths_of = given.paths if isinstance(given, Prims) else ()
        return [usdrt.Sdf.Path(path) for path in paths_of] if paths_of else given

    keys = og.Controller.Keys
    og.Controller.edit(
        {'graph_path': '/World/vla_ros', 'evaluator_name': 'execution'},
        {
            keys.CREATE_NODES: list(graph.nodes),
            keys.CONNECT: list(graph.connections),
            keys.SET_VALUES: [(name, value(given)) for name, given in graph.values],
        },
    )


extensions = omni.kit.app.get_app().get_extension_manager()
extensions.set_extension_enabled_immediate('isaacsim.ros2.bridge', True)
app.update()

omni.usd.get_context().new_stage()
stage = omni.usd.get_context().get_stage()
UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
UsdGeom.SetStageMetersPerUnit(stage, 1.0)
arm_file = load_robot(paths.find('robots', options.robot))
add_table()
root_path = load_arm(arm_file)
cameras = {c.name: add_camera(c, find_link(root_path, c.frame)) for c in arm_file.cameras}
build(action_graph(arm_file, options.namespace, release(), root_path, cameras))

timeline = omni.timeline.get_timeline_interface()
timeline.set_time_codes_per_second(TICKS)
timeline.play()
while app.is_running():
    app.update()
timeline.stop()
app.close()
