package kubernetes_test

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

const (
	tokenDir  = "/var/run/secrets/kubernetes.io/serviceaccount"
	agentEnd  = 13 // seconds that an agent needs at most to end: agent.StopTimeout
	serverEnd = 10 // seconds that are left for the program
)

// agentFile is what the manifests use of the agent's file, so that anything else is refused.
type agentFile struct {
	Cluster struct {
		Endpoints []string `json:"endpoints"`
	} `json:"cluster"`
	ForgetAfter string `json:"forget_after"`
	Listen      struct {
		HTTP string `json:"http"`
		GRPC string `json:"grpc"`
	} `json:"listen"`
	Services []agentService `json:"services"`
}

type agentService struct {
	Name          string       `json:"name"`
	OnStop        string       `json:"on_stop"`
	ReadinessGate string       `json:"readiness_gate"`
	Checks        []agentCheck `json:"checks"`
}

type agentCheck struct {
	HTTP struct {
		URL string `json:"url"`
	} `json:"http"`
	Interval string `json:"interval"`
	Timeout  string `json:"timeout"`
	Fall     int    `json:"fall"`
}

// agentOf returns the container of a workload that runs the agent, nil if none does.
func agentOf(w workload) *corev1.Container {
	for _, c := range append(slices.Clone(w.template.Spec.InitContainers), w.template.Spec.Containers...) {
		if len(c.Args) > 0 && c.Args[0] == "agent" {
			return &c
		}
	}
	return nil
}

// sidecars: the agent beside a program, its file, its token, and what it may do.
func (m *manifests) sidecars(nodes workload, p *problems) {
	found := 0
	for _, w := range m.workloads {
		agent := agentOf(w)
		if agent == nil {
			if len(w.template.Spec.ReadinessGates) > 0 {
				p.add("%s: nobody writes the condition of its readiness gate", w.name)
			}
			continue
		}
		found++
		m.order(w, *agent, p)
		m.token(w, *agent, p)
		m.permissions(w, p)
		file, err := m.agentFile(w, *agent)
		if err != nil {
			p.add("%s: %w", w.name, err)
			continue
		}
		m.agentSettings(nodes, w, *agent, file, p)
		m.sidecarProbes(w, *agent, file, p)
	}
	if found == 0 {
		p.add("nothing has an agent as a sidecar")
	}
}

// order: the agent starts before the program, and ends after it, and there is time for both.
func (m *manifests) order(w workload, agent corev1.Container, p *problems) {
	spec := w.template.Spec
	k := slices.IndexFunc(spec.InitContainers, func(c corev1.Container) bool { return c.Name == agent.Name })
	if k < 0 || agent.RestartPolicy == nil || *agent.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		p.add("%s: the agent is no native sidecar, so it does not start before the program and end after it", w.name)
	}
	if agent.StartupProbe == nil {
		p.add("%s: the agent has no startup probe, so the program does not wait for it", w.name)
	}
	longest := int64(0)
	for _, c := range spec.Containers {
		if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil || c.Lifecycle.PreStop.Sleep.Seconds <= 0 {
			p.add("%s: container %s ends before Services stop leading to it", w.name, c.Name)
			continue
		}
		longest = max(longest, c.Lifecycle.PreStop.Sleep.Seconds)
	}
	if grace := spec.TerminationGracePeriodSeconds; grace == nil || *grace < longest+serverEnd+agentEnd {
		p.add("%s: the grace period must be %d s at least, for preStop, the program and the agent", w.name, longest+serverEnd+agentEnd)
	}
}

// token: only the agent has one, where it looks for it, with all that belongs to it.
func (m *manifests) token(w workload, agent corev1.Container, p *problems) {
	spec := w.template.Spec
	var holder *corev1.Volume
	for _, v := range spec.Volumes {
		if v.Projected == nil || !slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
			continue
		}
		if holder != nil {
			p.add("%s has two volumes with a token", w.name)
		}
		holder = &v
	}
	if holder == nil {
		p.add("%s: the agent has no token", w.name)
		return
	}
	var files []string
	for _, s := range holder.Projected.Sources {
		switch {
		case s.ServiceAccountToken != nil:
			files = append(files, s.ServiceAccountToken.Path)
			if e := s.ServiceAccountToken.ExpirationSeconds; e == nil || *e > 3607 || s.ServiceAccountToken.Audience != "" {
				p.add("%s: the token is not for the API server, or lives longer than an hour", w.name)
			}
		case s.ConfigMap != nil && s.ConfigMap.Name == "kube-root-ca.crt":
			for _, i := range s.ConfigMap.Items {
				files = append(files, i.Path)
			}
		case s.DownwardAPI != nil:
			for _, i := range s.DownwardAPI.Items {
				if i.FieldRef != nil && i.FieldRef.FieldPath == "metadata.namespace" {
					files = append(files, i.Path)
				}
			}
		}
	}
	slices.Sort(files)
	if !slices.Equal(files, []string{"ca.crt", "namespace", "token"}) {
		p.add("%s: the volume with the token has the files %v", w.name, files)
	}
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		for _, mount := range c.VolumeMounts {
			switch {
			case mount.Name != holder.Name:
			case c.Name != agent.Name:
				p.add("%s: container %s gets a token", w.name, c.Name)
			case mount.MountPath != tokenDir || !mount.ReadOnly:
				p.add("%s: the agent does not find its token at %s", w.name, tokenDir)
			}
		}
	}
	if !slices.ContainsFunc(agent.VolumeMounts, func(v corev1.VolumeMount) bool { return v.Name == holder.Name }) {
		p.add("%s: the agent has no token", w.name)
	}
}

// agentRules is what an agent with a readiness gate asks of the API server: it reads and patches the status of its pod.
var agentRules = []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods/status"}, Verbs: []string{"get", "patch"}}}

// rulesOf returns what the account of a workload may do.
func (m *manifests) rulesOf(w workload) (rules []rbacv1.PolicyRule, err error) {
	account := w.template.Spec.ServiceAccountName
	for _, b := range m.bindings {
		if !slices.Equal(b.Subjects, []rbacv1.Subject{{Kind: "ServiceAccount", Name: account}}) {
			continue
		}
		k := slices.IndexFunc(m.roles, func(r rbacv1.Role) bool { return r.Name == b.RoleRef.Name })
		if b.RoleRef.APIGroup != rbacv1.GroupName || b.RoleRef.Kind != "Role" || k < 0 {
			return nil, fmt.Errorf("RoleBinding %s: there is no Role %s", b.Name, b.RoleRef.Name)
		}
		rules = append(rules, m.roles[k].Rules...)
	}
	return rules, nil
}

// permissions: the account may do what the agent does, and nothing else.
func (m *manifests) permissions(w workload, p *problems) {
	rules, err := m.rulesOf(w)
	switch {
	case err != nil:
		p.add("%s: %w", w.name, err)
	case !reflect.DeepEqual(rules, agentRules):
		p.add("%s: its account may do %v; the agent needs %v", w.name, rules, agentRules)
	}
	for _, b := range m.bindings {
		if !slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool {
			return slices.ContainsFunc(m.workloads, func(w workload) bool {
				return s.Kind == "ServiceAccount" && s.Name == w.template.Spec.ServiceAccountName && agentOf(w) != nil
			})
		}) {
			p.add("RoleBinding %s: there is no such account of a workload with an agent", b.Name)
		}
	}
}

// agentFile is the file that --config names.
func (m *manifests) agentFile(w workload, agent corev1.Container) (file agentFile, err error) {
	at := strings.Join(flag(agent, "config"), " ")
	k := slices.IndexFunc(agent.VolumeMounts, func(v corev1.VolumeMount) bool { return v.MountPath == path.Dir(at) && v.ReadOnly })
	if k < 0 {
		return file, fmt.Errorf("the agent's file %q is on no volume", at)
	}
	for _, v := range w.template.Spec.Volumes {
		if v.Name != agent.VolumeMounts[k].Name || v.ConfigMap == nil {
			continue
		}
		for _, c := range m.configs {
			if text, ok := c.Data[path.Base(at)]; ok && c.Name == v.ConfigMap.Name {
				err := yaml.UnmarshalStrict([]byte(text), &file)
				return file, err
			}
		}
	}
	return file, fmt.Errorf("the agent's file %q is in no ConfigMap", at)
}

// agentSettings: what the file and the flags say is what the pod has.
func (m *manifests) agentSettings(nodes, w workload, agent corev1.Container, file agentFile, p *problems) {
	var want []string
	for i := range nodes.replicas {
		want = append(want, fmt.Sprintf("%s-%d.%s:%d", nodes.name, i, nodes.set.Spec.ServiceName, port(nodes.template.Spec.Containers[0], "api")))
	}
	if !slices.Equal(file.Cluster.Endpoints, want) {
		p.add("%s: the agent's endpoints are %v, not those of the nodes, %v", w.name, file.Cluster.Endpoints, want)
	}
	if want := fmt.Sprintf(":%d", port(agent, "agent")); file.Listen.HTTP != want {
		p.add("%s: the agent listens at %s; the kubelet asks at %s", w.name, file.Listen.HTTP, want)
	}
	if host, _, err := net.SplitHostPort(file.Listen.GRPC); err != nil || host != "127.0.0.1" {
		p.add("%s: the agent's gRPC port is for the program, at 127.0.0.1", w.name)
	}
	if !slices.Contains(agent.Args, "--insecure") {
		p.add("%s: the agent needs --insecure", w.name)
	}
	var ports []int32
	for _, c := range w.template.Spec.Containers {
		for _, q := range c.Ports {
			ports = append(ports, q.ContainerPort)
		}
	}
	instance, ok := strings.CutPrefix(strings.Join(flag(agent, "instance"), " "), "$(POD_IP):")
	if n, err := strconv.ParseInt(instance, 10, 32); !ok || err != nil || !slices.Contains(ports, int32(n)) {
		p.add("%s: --instance is not the address at which others reach the program", w.name)
	}
	for name, field := range map[string]string{"POD_IP": "status.podIP", "POD_NAME": "metadata.name", "POD_UID": "metadata.uid"} {
		if v := variable(agent, name); v.ValueFrom == nil || v.ValueFrom.FieldRef == nil || v.ValueFrom.FieldRef.FieldPath != field {
			p.add("%s: %s is not the pod's %s", w.name, name, field)
		}
	}
	gates, conditions := map[string]bool{}, map[string]bool{}
	for _, s := range file.Services {
		if s.ReadinessGate != "" {
			gates[s.ReadinessGate] = true
		}
		if s.OnStop != "withdraw" {
			p.add("%s: %s at an address that never comes back must be withdrawn", w.name, s.Name)
		}
		for _, c := range s.Checks {
			u, err := url.Parse(c.HTTP.URL)
			if err != nil || u.Hostname() != "127.0.0.1" || !slices.ContainsFunc(ports, func(n int32) bool { return u.Port() == fmt.Sprint(n) }) {
				p.add("%s: the check of %s does not ask the program in the pod", w.name, s.Name)
			}
		}
	}
	for _, g := range w.template.Spec.ReadinessGates {
		conditions[string(g.ConditionType)] = true
	}
	if len(gates) == 0 || !maps.Equal(gates, conditions) {
		p.add("%s: the agent writes the conditions %v; the readiness gates of the pod are %v", w.name, slices.Sorted(maps.Keys(gates)), slices.Sorted(maps.Keys(conditions)))
	}
}

// sidecarProbes: the probes of the agent say that it runs, and those of the program ask the program. At the agent's port
// only a readiness probe may ask for a service: what it says of one follows the switch.
func (m *manifests) sidecarProbes(w workload, agent corev1.Container, file agentFile, p *problems) {
	spec := w.template.Spec
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		for _, kind := range []struct {
			name  string
			probe *corev1.Probe
		}{{"startup", c.StartupProbe}, {"liveness", c.LivenessProbe}, {"readiness", c.ReadinessProbe}} {
			what := fmt.Sprintf("%s: container %s: its %s probe", w.name, c.Name, kind.name)
			switch {
			case kind.probe == nil && c.Name == agent.Name && kind.name == "readiness": // the gate does it
				continue
			case kind.probe == nil || kind.probe.HTTPGet == nil:
				p.add("%s asks nothing by HTTP", what)
				continue
			case kind.probe.TimeoutSeconds > kind.probe.PeriodSeconds:
				p.add("%s may take longer than its period", what)
			}
			ask := kind.probe.HTTPGet
			at := ask.Port.IntVal
			own := false
			for _, q := range c.Ports {
				if ask.Port.Type == intstr.String && q.Name == ask.Port.StrVal {
					at, own = q.ContainerPort, true
				}
			}
			if ask.Host != "" {
				p.add("%s asks another host", what)
			}
			switch {
			case at == port(agent, "agent"):
				readiness := kind.name == "readiness" && slices.ContainsFunc(file.Services, func(s agentService) bool { return ask.Path == "/readyz/"+s.Name })
				if !readiness && (ask.Path != "/livez" || c.Name != agent.Name) {
					p.add("%s asks the agent for %s: at a flip Kubernetes would restart every pod", what, ask.Path)
				}
			case !own || c.Name == agent.Name:
				p.add("%s asks at %s, which is no port of its container", what, ask.Port.String())
			}
		}
	}
}
