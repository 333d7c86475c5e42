package kubernetes_test

import (
	"maps"
	"os/exec"
	"strings"
	"testing"
)

func TestManifests(t *testing.T) {
	if err := check(readTree(t)); err != nil {
		t.Error(err)
	}
}

// TestKustomizeTakesThem builds every directory with kustomize itself.
func TestKustomizeTakesThem(t *testing.T) {
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("kubectl is not on this machine")
	}
	for dir, want := range map[string]string{".": "image: registry.example/rollcall:v0.1.0", "example": "image: registry.example/checkout:v1.0.0", "sidecar": "image: registry.example/orders:v1.0.0"} {
		out, err := exec.Command("kubectl", "kustomize", dir).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", dir, err, out)
		}
	}
}

// mutant is a change of one manifest, and a word of the rule that it breaks.
type mutant struct{ name, file, old, new, want string }

// TestRulesRefuse breaks each rule once: every change of a manifest is refused, for the reason that is given.
func TestRulesRefuse(t *testing.T) {
	const (
		set        = "statefulset.yaml"
		services   = "service.yaml"
		budget     = "poddisruptionbudget.yaml"
		policy     = "networkpolicy.yaml"
		account    = "serviceaccount.yaml"
		deployment = "example/deployment.yaml"
	)
	for _, tc := range append([]mutant{
		{"an unknown key", set, "minReadySeconds:", "minReadySecond:", "unknown field"},
		{"a key twice", set, "  serviceName: rollcall-nodes\n", "  serviceName: rollcall-nodes\n  serviceName: rollcall-nodes\n", "already set"},
		{"a wrong type", set, "replicas: 3", "replicas: three", "cannot unmarshal"},
		{"an unknown kind", budget, "kind: PodDisruptionBudget", "kind: PodDisruptionsBudget", "no kind"},
		{"an old version", budget, "policy/v1", "policy/v1beta1", "no kind"},
		{"an unknown key of kustomize", "kustomization.yaml", "images:", "namePrefix: a-\nimages:", "unknown field"},

		{"a file that is not listed", "kustomization.yaml", "  - networkpolicy.yaml\n", "", "networkpolicy.yaml is not in the kustomization"},
		{"a file that is not there", "kustomization.yaml", "  - networkpolicy.yaml\n", "  - networkpolicy.yaml\n  - quota.yaml\n", "which is not there"},
		{"a file listed twice", "kustomization.yaml", "  - networkpolicy.yaml\n", "  - networkpolicy.yaml\n  - networkpolicy.yaml\n", "twice"},
		{"no image", "kustomization.yaml", "  - name: rollcall\n", "  - name: rollcal\n", "does not say which image"},
		{"the newest image", "kustomization.yaml", "newTag: v0.1.0", "newTag: latest", "none of one version"},

		{"two of one name", services, "  name: rollcall\n", "  name: rollcall-nodes\n", "two objects"},
		{"a bad name", budget, "  name: rollcall\n", "  name: Rollcall_1\n", "its name"},
		{"a bad label", budget, "    app.kubernetes.io/name: rollcall\nspec", "    app.kubernetes.io/name: roll call\nspec", "label"},
		{"no label", budget, "  labels:\n    app.kubernetes.io/name: rollcall\nspec", "spec", "has no label"},
		{"a namespace", account, "  name: rollcall\n", "  name: rollcall\n  namespace: default\n", "has a namespace"},

		{"a selector of other pods", set, "  selector:\n    matchLabels:\n      app.kubernetes.io/name: rollcall\n", "  selector:\n    matchLabels:\n      app.kubernetes.io/name: rolcall\n", "does not match its pods"},
		{"a Service of other pods", services, "    app.kubernetes.io/component: node\n  ports:\n    - name: api\n      port: 7600\n      targetPort: api\n    - name: peer", "    app.kubernetes.io/component: nodes\n  ports:\n    - name: api\n      port: 7600\n      targetPort: api\n    - name: peer", "finds no pods"},
		{"a Service of all pods", "example/service.yaml", "  selector:\n    app.kubernetes.io/name: checkout\n", "", "finds no pods"},
		{"a Service at no port", services, "targetPort: peer", "targetPort: peers", "is not the port"},
		{"a Service at another port", services, "port: 7601", "port: 7602", "is not the port"},
		{"port 76000", set, "containerPort: 7601", "containerPort: 76010", "must be between 1 and 65535"},
		{"a bad name of a port", set, "- name: http\n              containerPort", "- name: http_port\n              containerPort", "port http_port"},
		{"one port twice", set, "containerPort: 7602", "containerPort: 7601", "twice"},
		{"no such account", set, "serviceAccountName: rollcall", "serviceAccountName: rollcal", "no ServiceAccount"},
		{"no such volume", deployment, "        - name: data\n          emptyDir", "        - name: date\n          emptyDir", "no volume data"},
		{"no limit of memory", set, "            limits:\n              memory: 1Gi\n", "", "a request of memory"},
		{"a request above the limit", deployment, "memory: 64Mi", "memory: 640Mi", "a request of memory"},
		{"no request of processor time", set, "cpu: 250m", "memory-x: 1", "a request of processor time"},

		{"root", set, "runAsUser: 65532", "runAsUser: 0", "runs as root"},
		{"perhaps root", deployment, "        runAsNonRoot: true\n", "", "runs as root"},
		{"no seccomp", set, "type: RuntimeDefault", "type: Unconfined", "seccomp"},
		{"no fsGroup", set, "        fsGroup: 65532\n", "", "fsGroup"},
		{"the machine's network", set, "      enableServiceLinks: false", "      hostNetwork: true\n      enableServiceLinks: false", "the machine's namespaces"},
		{"a token", set, "      automountServiceAccountToken: false\n", "", "gets a token"},
		{"an account with a token", account, "automountServiceAccountToken: false\n", "", "gives a token"},
		{"service links", set, "enableServiceLinks: false", "enableServiceLinks: true", "service links"},
		{"service links by default", deployment, "      enableServiceLinks: false\n", "", "service links"},
		{"the machine's directory", deployment, "emptyDir: {}", "hostPath: {path: /}", "is the machine's"},
		{"more privileges", set, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "may gain privileges"},
		{"privileged", set, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: false\n            privileged: true", "may gain privileges"},
		{"a root to write to", deployment, "            readOnlyRootFilesystem: true\n", "", "can be written to"},
		{"a capability", set, "              drop:\n                - ALL\n", "              drop:\n                - ALL\n              add:\n                - NET_ADMIN\n", "capabilities"},
		{"capabilities kept", set, "                - ALL\n", "                - NET_RAW\n", "capabilities"},
		{"a container that is root", set, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: false\n            runAsUser: 0", "takes back"},

		{"liveness of a node by its readiness", set, "          livenessProbe:\n            grpc:\n              port: 7600\n              service: rollcall.live", "          livenessProbe:\n            grpc:\n              port: 7600\n              service: rollcall.reads", `must ask for "rollcall.live"`},
		{"liveness by a merged name", deployment, "          livenessProbe:\n            grpc:\n              port: 8080\n              service: liveness", "          livenessProbe:\n            grpc:\n              port: 8080\n              service: checkout", `must ask for "liveness"`},
		{"liveness by the empty name", deployment, "          livenessProbe:\n            grpc:\n              port: 8080\n              service: liveness\n", "          livenessProbe:\n            grpc:\n              port: 8080\n", `must ask for "liveness"`},
		{"a start that needs a quorum", set, "          startupProbe:\n            grpc:\n              port: 7600\n              service: rollcall.live", "          startupProbe:\n            grpc:\n              port: 7600\n              service: rollcall.leader", `must ask for "rollcall.live"`},
		{"readiness that needs a quorum", set, "service: rollcall.reads", `service: ""`, `must ask for "rollcall.reads"`},
		{"readiness that no switch reaches", deployment, `service: ""`, "service: liveness", `must ask for ""`},
		{"no liveness", set, "livenessProbe:\n            grpc:\n              port: 7600\n              service: rollcall.live", "livenessProbe:\n            tcpSocket:\n              port: 7600", "asks nothing by gRPC"},
		{"a probe of another port", deployment, "              port: 8080\n              service: \"\"", "              port: 8081\n              service: \"\"", "where no gRPC is"},
		{"a probe of the peer port", set, "              port: 7600\n              service: rollcall.reads", "              port: 7601\n              service: rollcall.reads", "where no gRPC is"},
		{"a slow probe", set, "timeoutSeconds: 5", "timeoutSeconds: 50", "longer than its period"},

		{"more replicas than members", set, "replicas: 3", "replicas: 5", "the members are"},
		{"fewer replicas", set, "replicas: 3", "replicas: 2", "the members are"},
		{"a member twice", set, "--member=rollcall-2,host=rollcall-2.rollcall-nodes", "--member=rollcall-2,host=rollcall-1.rollcall-nodes", "the members are"},
		{"members of another Service", set, "serviceName: rollcall-nodes", "serviceName: rollcall", "has an address of its own"},
		{"no such Service", set, "serviceName: rollcall-nodes", "serviceName: rollcalls", "no Service rollcalls"},
		{"names only of ready pods", services, "  publishNotReadyAddresses: true\n", "", "a pod that is not ready has no name"},
		{"names of other pods", services, "    app.kubernetes.io/name: rollcall\n    app.kubernetes.io/component: node\n", "    app.kubernetes.io/name: checkout\n", "does not find the nodes"},
		{"no headless Service", services, "  clusterIP: None\n", "", "has an address of its own"},
		{"no peer port in the Service", services, "    - name: peer\n      port: 7601\n      targetPort: peer\n", "", "no port peer"},
		{"another port to listen on", set, "--peer-listen=:7601", "--peer-listen=:7611", "must both be 7601"},
		{"listening on the pod's name", set, "--api-listen=:7600", "--api-listen=rollcall-0.rollcall-nodes:7600", "must both be 7600"},
		{"one name for all nodes", set, "--node=$(POD_NAME)", "--node=rollcall-0", "called as its pod"},
		{"another field", set, "fieldPath: metadata.name", "fieldPath: metadata.uid", "called as its pod"},
		{"without --insecure", set, "            - --insecure\n", "", "serve --insecure"},
		{"one pod after the other", set, "podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady", "do not start together"},
		{"a fast update", set, "minReadySeconds: 10", "minReadySeconds: 0", "10 s between"},
		{"a short grace period", set, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 17", "the grace period"},
		{"a long drain", set, "--drain-delay=5s", "--drain-delay=30s", "the grace period"},
		{"data in the image", set, "--data=/var/lib/rollcall/data", "--data=/var/lib/rollcal/data", "on no volume"},
		{"data on a volume that others write", set, "ReadWriteOnce", "ReadWriteMany", "one machine at a time"},
		{"volumes that go with it", set, "whenScaled: Retain", "whenScaled: Delete", "do not outlive"},
		{"all on one machine", set, "DoNotSchedule", "ScheduleAnyway", "different machines"},
		{"spread among other pods", set, "          whenUnsatisfiable: ScheduleAnyway\n          labelSelector:\n            matchLabels:\n              app.kubernetes.io/name: rollcall\n", "          whenUnsatisfiable: ScheduleAnyway\n          labelSelector:\n            matchLabels:\n              app.kubernetes.io/name: checkout\n", "counts other pods"},

		{"a budget without a quorum", budget, "maxUnavailable: 1", "maxUnavailable: 2", "no quorum"},
		{"a budget of one", budget, "maxUnavailable: 1", "minAvailable: 1", "no quorum"},
		{"a budget in percent", budget, "maxUnavailable: 1", "maxUnavailable: 33%", "as a number"},
		{"a budget that blocks", budget, "maxUnavailable: 1", "minAvailable: 3", "ever be drained"},
		{"a budget for others", budget, "component: node", "component: nodes", "does not find the nodes"},

		{"the peer port for all", policy, "          port: peer\n    - ports:\n", "          port: peer\n    - ports:\n        - protocol: TCP\n          port: peer\n", "others than nodes"},
		{"the peer port for all namespaces", policy, "        - podSelector:\n", "        - namespaceSelector: {}\n          podSelector:\n", "others than nodes"},
		{"all ports for all", policy, "    - ports:\n        - protocol: TCP\n          port: api\n        - protocol: TCP\n          port: http\n", "    - {}\n", "a rule without ports"},
		{"no api port", policy, "        - protocol: TCP\n          port: api\n", "", "reach the port api"},
		{"a port that is not there", policy, "port: http", "port: https", "is no port of the nodes"},
		{"a policy for others", policy, "component: node\n  policyTypes", "component: nodes\n  policyTypes", "does not say who"},
		{"a policy of what goes out", policy, "    - Ingress\n", "    - Egress\n", "does not say who"},

		{"too many watches", set, "--max-watches=50000", "--max-watches=200000", "each must be less"},
		{"too much for clients", set, "--client-memory=256MiB", "--client-memory=768MiB", "each must be less"},
		{"GOMEMLIMIT above the limit", set, "value: 900MiB", "value: 1024MiB", "each must be less"},
		{"a limit of processor time", set, "              memory: 1Gi\n", "              memory: 1Gi\n              cpu: 1\n", "throttled"},

		{"endpoints of two nodes", deployment, ",rollcall-2.rollcall-nodes:7600", "", "its endpoints"},
		{"endpoints at the peer port", deployment, "rollcall-0.rollcall-nodes:7600", "rollcall-0.rollcall-nodes:7601", "its endpoints"},
		{"the machine's address", deployment, "status.podIP", "status.hostIP", "POD_IP"},
		{"an instance nobody reaches", deployment, "-instance=$(POD_IP):8080", "-instance=0.0.0.0:8080", "its instance"},
	}, sidecarMutants...) {
		t.Run(tc.name, func(t *testing.T) {
			files := maps.Clone(readTree(t))
			if !strings.Contains(files[tc.file], tc.old) {
				t.Fatalf("%s has no %q", tc.file, tc.old)
			}
			files[tc.file] = strings.Replace(files[tc.file], tc.old, tc.new, 1)
			if err := check(files); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want %q, got: %v", tc.want, err)
			}
		})
	}
}
