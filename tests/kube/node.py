"""node: a Kubernetes node: etcd, API server, controller manager, scheduler, containerd and kubelet.

All of it runs in the namespaces that run.py has made, where /run, /var/lib and /var/log are empty and the network is
a bridge that leads nowhere. So everything has its usual place and port, and nothing of it outlasts the namespaces.
What is there has one user and one token: who may do what in a cluster is not what we try.
"""
import json
import os
import secrets
import subprocess

from processes import APART, FOLDER, start, temporary_path, wait_for

ADDRESS = "198.18.0.1"  # of the node, on the bridge; from a range for tests (RFC 2544)
PODS, SERVICES = "198.18.0.0/24", "198.19.0.0/24"
API = "https://127.0.0.1:6443"
CONTAINERD = "/run/containerd/containerd.sock"
READY_S = 120  # for each part; on a busy machine the API server takes half a minute

CNI = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "pods", "isGateway": True,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}

# restrict_oom_score_adj: a sandbox may lack what it takes to lower a score (CAP_SYS_RESOURCE).
CONTAINERD_TOML = """version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"""

KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "address": ADDRESS,
    "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs", "failCgroupV1": False, "failSwapOn": False,
    "makeIPTablesUtilChains": False,  # there are no services, so nothing to translate
    "evictionHard": {"memory.available": "100Mi"},  # a full disk here is not the pods' fault
}

# The kubelet wants these for the whole machine, and writes where it finds another value. It finds these.
SYSCTLS = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
           "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}


def run(*words, **options):
    """A command; its output, or RuntimeError with what it says."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL if "input" not in options else None,
                          capture_output=True, text=True, timeout=READY_S, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def write(name, content):
    path = temporary_path(name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(content if isinstance(content, str) else json.dumps(content))
    return path


class Node:
    """exe is k8slab; images an archive with what pods may run; pause the image that holds a pod's namespaces; cgroup
    the group, of each hierarchy, that pods go below."""

    def __init__(self, exe, images, pause, cgroup):
        self.exe = exe
        self._enclose()
        self._containerd(images, pause)
        token = secrets.token_hex(16)
        self.kubeconfig = write("kubeconfig", {
            "apiVersion": "v1", "kind": "Config", "current-context": "node",
            "clusters": [{"name": "node", "cluster": {"server": API, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "node", "user": {"token": token}}],
            "contexts": [{"name": "node", "context": {"cluster": "node", "user": "node"}}]})
        self._control_plane(token)
        self._start("kubelet", "--kubeconfig", self.kubeconfig, "--hostname-override", "node", "--node-ip", ADDRESS,
                    "--config", write("kubelet.json", dict(KUBELET, cgroupRoot=cgroup)))
        self._wait("the node is not ready", "wait", "--for=condition=Ready", "node/node", "--timeout=1s")
        self._wait("no service account", "get", "serviceaccount", "default")

    def _enclose(self):
        run("mount", "--make-rshared", "/")  # a Secret that the kubelet mounts must be seen in containers
        for name, value in SYSCTLS.items():
            run("mount", "--bind", write(name.replace("/", "_"), f"{value}\n"), f"/proc/sys/{name}")
        run("ip", "link", "add", "pods", "type", "bridge")
        run("ip", "address", "add", f"{ADDRESS}/24", "dev", "pods")
        run("ip", "link", "set", "pods", "up")

    def _containerd(self, images, pause):
        cni = temporary_path("cni")
        os.mkdir(cni)
        write("cni/pods.conflist", CNI)
        config = write("containerd.toml", CONTAINERD_TOML.format(pause=pause, cni=cni))
        start(["containerd", "--config", config], log=temporary_path("containerd.log"), **APART)
        wait_for(f"containerd; see {FOLDER}/containerd.log", lambda: os.path.exists(CONTAINERD), READY_S)
        run("ctr", "--namespace", "k8s.io", "images", "import", images)

    def _start(self, name, *flags):
        start([self.exe, name, *flags], log=temporary_path(f"{name}.log"), **APART)

    def _wait(self, what, *words):
        def attempt():
            try:
                return self.kubectl(*words) or True
            except RuntimeError:
                return None
        wait_for(f"{what}; see the logs in {FOLDER}", attempt, READY_S)

    def _control_plane(self, token):
        key, folder = temporary_path("accounts.key"), temporary_path("apiserver")
        run("openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", key)
        etcd = "http://127.0.0.1:2379"
        self._start("etcd", temporary_path("etcd"), etcd, "http://127.0.0.1:2380")
        self._start("kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
                    "--endpoint-reconciler-type", "none", "--service-cluster-ip-range", SERVICES, "--cert-dir", folder,
                    "--token-auth-file", write("tokens", f'{token},node,node,"system:masters"\n'),
                    "--authorization-mode", "AlwaysAllow", "--kubelet-preferred-address-types", "InternalIP",
                    "--service-account-issuer", API, "--service-account-key-file", key,
                    "--service-account-signing-key-file", key)
        self._wait("no API server", "get", "--raw", "/readyz")
        for name in ("kube-controller-manager", "kube-scheduler"):
            self._start(name, "--kubeconfig", self.kubeconfig, "--leader-elect=false", "--secure-port=0")

    def kubectl(self, *words, **options):
        return run(self.exe, "kubectl", "--kubeconfig", self.kubeconfig, *words, **options)

    def get(self, *words):
        return json.loads(self.kubectl("get", "--output", "json", *words))
