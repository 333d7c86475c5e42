package kubernetes_test

import (
	"maps"
	"strings"
	"testing"
)

const (
	sidecar     = "sidecar/deployment.yaml"
	agentConfig = "sidecar/configmap.yaml"
	role        = "sidecar/role.yaml"
)

// sidecarMutants breaks each rule of a workload with an agent.
var sidecarMutants = []mutant{
	{"an agent that is no sidecar", sidecar, "          restartPolicy: Always\n", "", "no native sidecar"},
	{"an agent beside the program", sidecar, "      initContainers:\n", "      containers:\n", "already set"},
	{"no startup probe of the agent", sidecar, "          startupProbe:\n            httpGet:\n              port: agent\n              path: /livez\n            periodSeconds: 1\n            timeoutSeconds: 1\n            failureThreshold: 30\n", "", "does not wait for it"},
	{"no preStop", sidecar, "          lifecycle:\n            preStop:\n              sleep:\n                seconds: 5\n", "", "before Services stop leading"},
	{"a short grace period", sidecar, "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 26", "the grace period"},
	{"a long preStop", sidecar, "seconds: 5", "seconds: 30", "the grace period"},

	{"a token for all containers", sidecar, "      automountServiceAccountToken: false\n", "", "gets a token"},
	{"a token for the program", sidecar, "          lifecycle:\n", "          volumeMounts:\n            - name: kubernetes\n              mountPath: /token\n          lifecycle:\n", "container orders gets a token"},
	{"no token", sidecar, "              - serviceAccountToken:\n                  path: token\n                  expirationSeconds: 3607\n", "", "has no token"},
	{"a token that nobody mounts", sidecar, "            - name: kubernetes\n              mountPath: /var/run/secrets/kubernetes.io/serviceaccount\n              readOnly: true\n", "", "has no token"},
	{"a token elsewhere", sidecar, "mountPath: /var/run/secrets/kubernetes.io/serviceaccount", "mountPath: /var/run/secrets/serviceaccount", "does not find its token"},
	{"a token of another name", sidecar, "path: token", "path: jwt", "has the files"},
	{"a token for years", sidecar, "expirationSeconds: 3607", "expirationSeconds: 99999999", "lives longer"},
	{"a token for others", sidecar, "expirationSeconds: 3607", "expirationSeconds: 3607\n                  audience: vault", "not for the API server"},
	{"no authorities", sidecar, "name: kube-root-ca.crt", "name: root-ca.crt", "has the files"},
	{"no namespace", sidecar, "fieldPath: metadata.namespace", "fieldPath: metadata.name", "has the files"},

	{"no right to patch", role, "      - patch\n", "", "its account may do"},
	{"a right too much", role, "      - patch\n", "      - patch\n      - delete\n", "its account may do"},
	{"the right to patch pods", role, "pods/status", "pods", "its account may do"},
	{"rights of another group", role, "  - apiGroups:\n      - \"\"", "  - apiGroups:\n      - apps", "its account may do"},
	{"a binding of another account", role, "  - kind: ServiceAccount\n    name: orders", "  - kind: ServiceAccount\n    name: rollcall", "no such account"},
	{"a binding of a user", role, "  - kind: ServiceAccount\n", "  - kind: User\n", "no such account"},
	{"a binding of no role", role, "  kind: Role\n  name: orders-readiness", "  kind: Role\n  name: orders-status", "there is no Role"},
	{"a binding of a cluster's role", role, "  kind: Role\n  name", "  kind: ClusterRole\n  name", "there is no Role"},
	{"another account", sidecar, "serviceAccountName: orders", "serviceAccountName: rollcall", "its account may do"},

	{"no file", sidecar, "--config=/etc/rollcall/agent.yaml", "--config=/etc/agent.yaml", "on no volume"},
	{"a file of another name", sidecar, "--config=/etc/rollcall/agent.yaml", "--config=/etc/rollcall/agents.yaml", "in no ConfigMap"},
	{"another ConfigMap", sidecar, "name: orders-agent", "name: orders", "in no ConfigMap"},
	{"an unknown key of the file", agentConfig, "    listen:\n", "    listens:\n", "unknown field"},
	{"endpoints of two nodes", agentConfig, "        - rollcall-2.rollcall-nodes:7600\n", "", "endpoints"},
	{"endpoints at the peer port", agentConfig, "rollcall-1.rollcall-nodes:7600", "rollcall-1.rollcall-nodes:7601", "endpoints"},
	{"another port of the agent", sidecar, "containerPort: 7612", "containerPort: 7613", "the kubelet asks at"},
	{"an agent that the kubelet does not reach", agentConfig, "\":7612\"", "127.0.0.1:7612", "the kubelet asks at"},
	{"a gRPC port for all", agentConfig, "127.0.0.1:7610", "\":7610\"", "gRPC port is for the program"},
	{"an agent without --insecure", sidecar, "            - --insecure\n", "", "needs --insecure"},
	{"an instance nobody reaches", sidecar, "--instance=$(POD_IP):8080", "--instance=127.0.0.1:8080", "--instance"},
	{"an instance at the agent's port", sidecar, "--instance=$(POD_IP):8080", "--instance=$(POD_IP):7612", "--instance"},
	{"the machine's address", sidecar, "status.podIP", "status.hostIP", "POD_IP"},
	{"another field for the name", sidecar, "fieldPath: metadata.name\n            - name: POD_UID", "fieldPath: spec.nodeName\n            - name: POD_UID", "POD_NAME"},
	{"no uid", sidecar, "fieldPath: metadata.uid", "fieldPath: metadata.name", "POD_UID"},
	{"another condition", agentConfig, "readiness_gate: example.com/rollcall", "readiness_gate: example.com/ready", "the agent writes the conditions"},
	{"a condition that nobody writes", agentConfig, "        readiness_gate: example.com/rollcall # as in spec.readinessGates of the pod\n", "", "the agent writes the conditions"},
	{"no readiness gate", sidecar, "      readinessGates:\n        - conditionType: example.com/rollcall\n", "", "the agent writes the conditions"},
	{"a gate without an agent", "example/deployment.yaml", "      enableServiceLinks: false\n", "      enableServiceLinks: false\n      readinessGates:\n        - conditionType: example.com/rollcall\n", "nobody writes the condition"},
	{"an address that stays", agentConfig, "on_stop: withdraw", "on_stop: leave", "must be withdrawn"},
	{"a check of another port", agentConfig, "http://127.0.0.1:8080", "http://127.0.0.1:8081", "does not ask the program"},
	{"a check of another host", agentConfig, "http://127.0.0.1:8080", "http://orders:8080", "does not ask the program"},

	{"liveness of the agent by a service", sidecar, "          livenessProbe:\n            httpGet:\n              port: agent\n              path: /livez", "          livenessProbe:\n            httpGet:\n              port: agent\n              path: /readyz/orders", "would restart every pod"},
	{"a start of the agent that needs the program", sidecar, "          startupProbe:\n            httpGet:\n              port: agent\n              path: /livez", "          startupProbe:\n            httpGet:\n              port: agent\n              path: /readyz", "would restart every pod"},
	{"liveness of the program by the agent", sidecar, "          livenessProbe:\n            httpGet:\n              port: http\n              path: /healthz", "          livenessProbe:\n            httpGet:\n              port: 7612\n              path: /readyz/orders", "would restart every pod"},
	{"liveness of the program that is the agent's", sidecar, "          livenessProbe:\n            httpGet:\n              port: http\n              path: /healthz", "          livenessProbe:\n            httpGet:\n              port: 7612\n              path: /livez", "would restart every pod"},
	{"readiness by a service that is not there", sidecar, "          readinessProbe:\n            httpGet:\n              port: http\n              path: /healthz", "          readinessProbe:\n            httpGet:\n              port: 7612\n              path: /readyz/order", "would restart every pod"},
	{"no readiness of the program", sidecar, "          readinessProbe:\n            httpGet:\n              port: http\n              path: /healthz\n", "          readinessProbe:\n            tcpSocket:\n              port: http\n", "asks nothing by HTTP"},
	{"a probe of another host", sidecar, "              port: http\n              path: /healthz\n            periodSeconds: 10", "              port: http\n              path: /healthz\n              host: 127.0.0.1\n            periodSeconds: 10", "asks another host"},
	{"a probe of no port", sidecar, "              port: http\n              path: /healthz\n            periodSeconds: 10", "              port: 8081\n              path: /healthz\n            periodSeconds: 10", "no port of its container"},
	{"a slow probe", sidecar, "timeoutSeconds: 5", "timeoutSeconds: 50", "longer than its period"},
}

// TestReadinessMayAskTheAgent: the other way to take pods out of a Service, without a readiness gate and a token.
func TestReadinessMayAskTheAgent(t *testing.T) {
	files := maps.Clone(readTree(t))
	old := "          readinessProbe:\n            httpGet:\n              port: http\n              path: /healthz\n"
	if !strings.Contains(files[sidecar], old) {
		t.Fatalf("%s has no %q", sidecar, old)
	}
	files[sidecar] = strings.Replace(files[sidecar], old, "          readinessProbe:\n            httpGet:\n              port: 7612\n              path: /readyz/orders\n", 1)
	if err := check(files); err != nil {
		t.Error(err)
	}
}
