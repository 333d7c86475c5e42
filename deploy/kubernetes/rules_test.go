package kubernetes_test

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// problems collects what breaks a rule.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

// check returns everything in files that is wrong.
func check(files tree) error {
	m, err := decode(files)
	if err != nil {
		return err
	}
	var p problems
	m.files(files, &p)
	m.names(&p)
	for _, w := range m.workloads {
		m.workload(w, &p)
		m.security(w, &p)
		if agentOf(w) == nil {
			m.probes(w, &p)
		}
	}
	m.clientServices(&p)
	nodes, err := m.nodes()
	if err != nil {
		return err
	}
	m.members(nodes, &p)
	m.disruptions(nodes, &p)
	m.network(nodes, &p)
	m.sizes(nodes, &p)
	m.users(nodes, &p)
	m.sidecars(nodes, &p)
	return errors.Join(p...)
}

// files: a kustomization lists exactly the files beside it.
func (m *manifests) files(files tree, p *problems) {
	for name := range files {
		dir, base := path.Split(name)
		dir = path.Clean(dir)
		if base != "kustomization.yaml" && !slices.Contains(m.kustomizations[dir].Resources, base) {
			p.add("%s is not in the kustomization", name)
		}
	}
	for dir, k := range m.kustomizations {
		for i, r := range k.Resources {
			if _, ok := files[path.Join(dir, r)]; !ok {
				p.add("%s: the kustomization lists %s, which is not there", dir, r)
			}
			if slices.Contains(k.Resources[:i], r) {
				p.add("%s: the kustomization lists %s twice", dir, r)
			}
		}
	}
}

// names: what Kubernetes asks of them, and no two alike.
func (m *manifests) names(p *problems) {
	seen := map[string]bool{}
	for _, o := range m.metas {
		key := o.kind + " " + o.Name
		if seen[key] {
			p.add("two objects are called %s", key)
		}
		seen[key] = true
		for _, why := range validation.IsDNS1035Label(o.Name) {
			p.add("%s: its name: %s", key, why)
		}
		if o.Namespace != "" {
			p.add("%s has a namespace; the kustomization of who applies it says which", key)
		}
		if o.Labels["app.kubernetes.io/name"] == "" {
			p.add("%s has no label app.kubernetes.io/name", key)
		}
		goodLabels(key, o.Labels, p)
	}
}

func goodLabels(what string, l map[string]string, p *problems) {
	for k, v := range l {
		for _, why := range append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...) {
			p.add("%s: label %s=%s: %s", what, k, v, why)
		}
	}
}

// selects reports whether a selector finds the pods of a workload. One that is empty, and so finds all pods, does not.
func selects(s *metav1.LabelSelector, w workload) bool {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(w.template.Labels))
}

// workload: its selector, ports, images, volumes and account.
func (m *manifests) workload(w workload, p *problems) {
	if !selects(w.selector, w) {
		p.add("%s: its selector does not match its pods", w.name)
	}
	goodLabels(w.name, w.template.Labels, p)
	spec := w.template.Spec
	if name := spec.ServiceAccountName; name != "" && !slices.ContainsFunc(m.accounts, func(a corev1.ServiceAccount) bool { return a.Name == name }) {
		p.add("%s: there is no ServiceAccount %s", w.name, name)
	}
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
	}
	if w.set != nil {
		for _, c := range w.set.Spec.VolumeClaimTemplates {
			volumes[c.Name] = true
		}
	}
	names, numbers := map[string]bool{}, map[int32]bool{}
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		what := w.name + ": container " + c.Name
		for _, why := range validation.IsDNS1123Label(c.Name) {
			p.add("%s: its name: %s", what, why)
		}
		k := slices.IndexFunc(m.kustomizations[w.dir].Images, func(i image) bool { return i.Name == c.Image })
		if k < 0 {
			p.add("%s: the kustomization does not say which image %q is", what, c.Image)
		} else if i := m.kustomizations[w.dir].Images[k]; i.NewName == "" || i.NewTag == "" || i.NewTag == "latest" {
			p.add("%s: its image %s:%s is none of one version", what, i.NewName, i.NewTag)
		}
		for _, q := range c.Ports {
			for _, why := range append(validation.IsValidPortName(q.Name), validation.IsValidPortNum(int(q.ContainerPort))...) {
				p.add("%s: port %s: %s", what, q.Name, why)
			}
			if names[q.Name] || numbers[q.ContainerPort] {
				p.add("%s: port %s, %d, is there twice", what, q.Name, q.ContainerPort)
			}
			names[q.Name], numbers[q.ContainerPort] = true, true
		}
		for _, v := range c.VolumeMounts {
			if !volumes[v.Name] {
				p.add("%s: there is no volume %s", what, v.Name)
			}
		}
		memory := c.Resources.Limits.Memory()
		if request := c.Resources.Requests.Memory(); request.IsZero() || memory.IsZero() || request.Cmp(*memory) > 0 {
			p.add("%s: it needs a request of memory and a limit above it", what)
		}
		if c.Resources.Requests.Cpu().IsZero() {
			p.add("%s: it needs a request of processor time", what)
		}
	}
}

// security: not root, nothing to write but volumes, no privileges, no token.
func (m *manifests) security(w workload, p *problems) {
	spec := w.template.Spec
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	s := spec.SecurityContext
	switch {
	case s == nil || !is(s.RunAsNonRoot, true) || s.RunAsUser == nil || *s.RunAsUser == 0 || s.RunAsGroup == nil || *s.RunAsGroup == 0:
		p.add("%s runs as root", w.name)
	case s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
		p.add("%s: its seccomp profile is not the runtime's", w.name)
	}
	if w.set != nil && (s == nil || s.FSGroup == nil || *s.FSGroup == 0) {
		p.add("%s: without an fsGroup it cannot write to its volume", w.name)
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		p.add("%s uses the machine's namespaces", w.name)
	}
	if !is(spec.AutomountServiceAccountToken, false) {
		p.add("%s gets a token", w.name)
	}
	if !is(spec.EnableServiceLinks, false) {
		p.add("%s: service links are on, and set variables that begin with ROLLCALL_", w.name)
	}
	for _, v := range spec.Volumes {
		if v.HostPath != nil {
			p.add("%s: volume %s is the machine's", w.name, v.Name)
		}
	}
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		what := w.name + ": container " + c.Name
		s := c.SecurityContext
		switch {
		case s == nil || !is(s.AllowPrivilegeEscalation, false) || is(s.Privileged, true):
			p.add("%s may gain privileges", what)
		case !is(s.ReadOnlyRootFilesystem, true):
			p.add("%s: its root file system can be written to", what)
		case s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0:
			p.add("%s has capabilities", what)
		case s.RunAsNonRoot != nil || s.RunAsUser != nil || s.SeccompProfile != nil:
			p.add("%s takes back what its pod says", what)
		}
	}
	for _, a := range m.accounts {
		if !is(a.AutomountServiceAccountToken, false) {
			p.add("ServiceAccount %s gives a token", a.Name)
		}
	}
}

// Names that no operator and no dependency can change: only these may stand in a liveness probe.
const (
	nodeLive    = "rollcall.live"
	nodeReads   = "rollcall.reads"
	serviceLive = "liveness"
)

// probes: native gRPC probes, each of the right name.
func (m *manifests) probes(w workload, p *problems) {
	live, ready := serviceLive, ""
	if w.set != nil {
		live, ready = nodeLive, nodeReads
	}
	for _, c := range w.template.Spec.Containers {
		for _, kind := range []struct {
			name    string
			probe   *corev1.Probe
			service string
		}{
			{"liveness", c.LivenessProbe, live},
			{"startup", c.StartupProbe, live},
			{"readiness", c.ReadinessProbe, ready},
		} {
			what := fmt.Sprintf("%s: container %s: its %s probe", w.name, c.Name, kind.name)
			if kind.probe == nil || kind.probe.GRPC == nil {
				p.add("%s asks nothing by gRPC", what)
				continue
			}
			asked := kind.probe.GRPC.Service
			if asked == nil || *asked != kind.service {
				p.add("%s must ask for %q", what, kind.service)
			}
			if !slices.ContainsFunc(c.Ports, func(q corev1.ContainerPort) bool {
				return q.ContainerPort == kind.probe.GRPC.Port && (q.Name == "api" || q.Name == "grpc")
			}) {
				p.add("%s asks at port %d, where no gRPC is", what, kind.probe.GRPC.Port)
			}
			if kind.probe.TimeoutSeconds > kind.probe.PeriodSeconds {
				p.add("%s may take longer than its period", what)
			}
		}
	}
}

// clientServices: each finds pods, and ports of theirs.
func (m *manifests) clientServices(p *problems) {
	for _, s := range m.services {
		found := false
		for _, w := range m.workloads {
			if !selects(&metav1.LabelSelector{MatchLabels: s.Spec.Selector}, w) {
				continue
			}
			found = true
			for _, q := range s.Spec.Ports {
				number := int32(0)
				for _, c := range w.template.Spec.Containers {
					if q.TargetPort.Type == intstr.String {
						number = max(number, port(c, q.TargetPort.StrVal))
					}
				}
				if number == 0 || number != q.Port || q.Name != q.TargetPort.StrVal {
					p.add("Service %s: port %s, %d, is not the port %s of %s, %d", s.Name, q.Name, q.Port, q.TargetPort.String(), w.name, number)
				}
			}
		}
		if !found {
			p.add("Service %s finds no pods", s.Name)
		}
		if len(s.Spec.Ports) == 0 {
			p.add("Service %s has no port", s.Name)
		}
	}
}

// users: a workload that has endpoints of the registry names all of the nodes, and itself by its pod's address.
func (m *manifests) users(nodes workload, p *problems) {
	users := 0
	var want []string
	for i := range nodes.replicas {
		want = append(want, fmt.Sprintf("%s-%d.%s:%d", nodes.name, i, nodes.set.Spec.ServiceName, port(nodes.template.Spec.Containers[0], "api")))
	}
	for _, w := range m.workloads {
		for _, c := range w.template.Spec.Containers {
			v := variable(c, "ROLLCALL_ENDPOINTS")
			if v.Name == "" {
				continue
			}
			users++
			got := strings.Split(v.Value, ",")
			slices.Sort(got)
			if !slices.Equal(got, want) {
				p.add("%s: its endpoints are not those of the nodes, %s", w.name, strings.Join(want, ","))
			}
			ip := variable(c, "POD_IP")
			if ip.ValueFrom == nil || ip.ValueFrom.FieldRef == nil || ip.ValueFrom.FieldRef.FieldPath != "status.podIP" {
				p.add("%s: POD_IP is not the pod's address", w.name)
			}
			if !slices.Contains(c.Args, fmt.Sprintf("-instance=$(POD_IP):%d", port(c, "grpc"))) {
				p.add("%s: its instance is not the address at which others reach it", w.name)
			}
		}
	}
	if users == 0 {
		p.add("nothing uses the registry")
	}
}
