package kubernetes_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// members: the member list, the names that DNS gives the pods, and how they are started and stopped.
func (m *manifests) members(w workload, p *problems) {
	s, spec := w.set.Spec, w.template.Spec
	c := spec.Containers[0]
	var want []string
	for i := range w.replicas {
		name := fmt.Sprintf("%s-%d", w.name, i)
		want = append(want, fmt.Sprintf("%s,host=%s.%s", name, name, s.ServiceName))
	}
	if got := flag(c, "member"); !slices.Equal(got, want) {
		p.add("the members are %v; %d replicas are %v", got, w.replicas, want)
	}
	if w.replicas%2 == 0 {
		p.add("%d replicas survive no more failures than %d", w.replicas, w.replicas-1)
	}
	k := slices.IndexFunc(m.services, func(o corev1.Service) bool { return o.Name == s.ServiceName })
	switch {
	case k < 0:
		p.add("there is no Service %s", s.ServiceName)
	case m.services[k].Spec.ClusterIP != corev1.ClusterIPNone:
		p.add("Service %s has an address of its own, so its pods have no names", s.ServiceName)
	case !m.services[k].Spec.PublishNotReadyAddresses:
		p.add("Service %s: a pod that is not ready has no name, and none becomes ready without", s.ServiceName)
	case !selects(&metav1.LabelSelector{MatchLabels: m.services[k].Spec.Selector}, w):
		p.add("Service %s does not find the nodes", s.ServiceName)
	default:
		for _, name := range []string{"api", "peer"} {
			if !slices.ContainsFunc(m.services[k].Spec.Ports, func(q corev1.ServicePort) bool { return q.Name == name }) {
				p.add("Service %s has no port %s", s.ServiceName, name)
			}
		}
	}
	for _, listen := range []struct {
		flag, port string
		number     int32
	}{{"api-listen", "api", 7600}, {"peer-listen", "peer", 7601}, {"http", "http", 7602}} {
		if got := flag(c, listen.flag); !slices.Equal(got, []string{fmt.Sprintf(":%d", listen.number)}) || port(c, listen.port) != listen.number {
			p.add("--%s=%v and the port %s, %d, must both be %d", listen.flag, got, listen.port, port(c, listen.port), listen.number)
		}
	}
	name := variable(c, "POD_NAME")
	if name.ValueFrom == nil || name.ValueFrom.FieldRef == nil || name.ValueFrom.FieldRef.FieldPath != "metadata.name" || !slices.Equal(flag(c, "node"), []string{"$(POD_NAME)"}) {
		p.add("a node must be called as its pod")
	}
	if len(c.Args) == 0 || c.Args[0] != "serve" || !slices.Contains(c.Args, "--insecure") {
		p.add("the pods do not run serve --insecure")
	}
	if s.PodManagementPolicy != appsv1.ParallelPodManagement {
		p.add("the pods do not start together, and a cluster forms only of all of them")
	}
	if s.UpdateStrategy.Type != appsv1.RollingUpdateStatefulSetStrategyType || s.MinReadySeconds < 10 {
		p.add("an update does not leave 10 s between two nodes")
	}
	drain, err := time.ParseDuration(strings.Join(flag(c, "drain-delay"), ""))
	if grace := spec.TerminationGracePeriodSeconds; err != nil || grace == nil || time.Duration(*grace)*time.Second <= drain+12*time.Second {
		p.add("the grace period must be more than the drain delay and 12 s")
	}
	// The data is on a volume that outlives the pod.
	data := strings.Join(flag(c, "data"), "")
	if !slices.ContainsFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool {
		return strings.HasPrefix(data, v.MountPath+"/") && !v.ReadOnly && slices.ContainsFunc(s.VolumeClaimTemplates, func(q corev1.PersistentVolumeClaim) bool { return q.Name == v.Name })
	}) {
		p.add("the data, %q, is on no volume of the node's own", data)
	}
	for _, claim := range s.VolumeClaimTemplates {
		if claim.Spec.Resources.Requests.Storage().IsZero() || !slices.Equal(claim.Spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}) {
			p.add("volume %s has no size, or is not for one machine at a time", claim.Name)
		}
	}
	if r := s.PersistentVolumeClaimRetentionPolicy; r == nil || r.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType || r.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		p.add("the volumes do not outlive the StatefulSet")
	}
	if !slices.ContainsFunc(spec.TopologySpreadConstraints, func(t corev1.TopologySpreadConstraint) bool {
		return t.TopologyKey == corev1.LabelHostname && t.WhenUnsatisfiable == corev1.DoNotSchedule && t.MaxSkew == 1 && selects(t.LabelSelector, w)
	}) {
		p.add("nothing keeps the nodes on different machines")
	}
	for _, t := range spec.TopologySpreadConstraints {
		if !selects(t.LabelSelector, w) {
			p.add("the spread over %s counts other pods", t.TopologyKey)
		}
	}
}

// disruptions: a budget that keeps a quorum and does not block every drain of a machine.
func (m *manifests) disruptions(w workload, p *problems) {
	budgets := 0
	for _, b := range m.budgets {
		if !selects(b.Spec.Selector, w) {
			p.add("PodDisruptionBudget %s does not find the nodes", b.Name)
			continue
		}
		budgets++
		var away int32
		switch up, down := b.Spec.MinAvailable, b.Spec.MaxUnavailable; {
		case down != nil && up == nil && down.Type == intstr.Int:
			away = down.IntVal
		case up != nil && down == nil && up.Type == intstr.Int:
			away = w.replicas - up.IntVal
		default:
			p.add("PodDisruptionBudget %s must have minAvailable or maxUnavailable, as a number", b.Name)
			continue
		}
		if away > (w.replicas-1)/2 {
			p.add("PodDisruptionBudget %s: without %d of %d nodes there is no quorum", b.Name, away, w.replicas)
		}
		if away < 1 {
			p.add("PodDisruptionBudget %s: no machine could ever be drained", b.Name)
		}
	}
	if budgets != 1 {
		p.add("%d budgets are for the nodes", budgets)
	}
}

// network: only nodes reach the peer port, and clients reach the others.
func (m *manifests) network(w workload, p *problems) {
	c := w.template.Spec.Containers[0]
	open := map[string]bool{}
	for _, n := range m.policies {
		if !selects(&n.Spec.PodSelector, w) || !slices.Equal(n.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
			p.add("NetworkPolicy %s does not say who reaches the nodes", n.Name)
		}
		for _, rule := range n.Spec.Ingress {
			if len(rule.Ports) == 0 {
				p.add("NetworkPolicy %s: a rule without ports allows the peer port too", n.Name)
			}
			onlyNodes := len(rule.From) > 0 && !slices.ContainsFunc(rule.From, func(from networkingv1.NetworkPolicyPeer) bool {
				return from.NamespaceSelector != nil || from.IPBlock != nil || !selects(from.PodSelector, w)
			})
			for _, q := range rule.Ports {
				if q.Port == nil || q.Port.Type != intstr.String || port(c, q.Port.StrVal) == 0 || q.EndPort != nil || q.Protocol == nil || *q.Protocol != corev1.ProtocolTCP {
					p.add("NetworkPolicy %s: %v is no port of the nodes", n.Name, q.Port)
					continue
				}
				if q.Port.StrVal == "peer" && !onlyNodes {
					p.add("NetworkPolicy %s: others than nodes reach the peer port", n.Name)
				}
				open[q.Port.StrVal] = true
			}
		}
	}
	for _, q := range c.Ports {
		if !open[q.Name] {
			p.add("no NetworkPolicy lets anybody reach the port %s", q.Name)
		}
	}
}

// sizes: what the flags allow clients to take fits into the memory that the pod has.
func (m *manifests) sizes(w workload, p *problems) {
	const (
		perWatch = 3686      // docs/guarantees.md, "Watchers"
		unstored = 128 << 20 // changes that are not yet in the registry file: docs/operations.md, "How large must a node be?"
	)
	c := w.template.Spec.Containers[0]
	limit := c.Resources.Limits.Memory().Value()
	clients, err := amount(strings.Join(flag(c, "client-memory"), ""))
	if err != nil {
		p.add("--client-memory: %v", err)
	}
	watches, err := strconv.ParseInt(strings.Join(flag(c, "max-watches"), ""), 10, 64)
	if err != nil {
		p.add("--max-watches: %v", err)
	}
	collect, err := amount(variable(c, "GOMEMLIMIT").Value)
	if err != nil {
		p.add("GOMEMLIMIT: %v", err)
	}
	if need := clients + watches*perWatch + unstored; need > collect || collect >= limit {
		p.add("clients may take %d MiB, GOMEMLIMIT is %d MiB, the limit of memory is %d MiB: each must be less than the next", need>>20, collect>>20, limit>>20)
	}
	if !c.Resources.Limits.Cpu().IsZero() {
		p.add("a leader that is throttled loses elections: no limit of processor time")
	}
}

// amount reads 256MiB, as rollcall and Go write it.
func amount(s string) (int64, error) {
	q, err := resource.ParseQuantity(strings.TrimSuffix(s, "B"))
	if err != nil {
		return 0, fmt.Errorf("%q: %w", s, err)
	}
	return q.Value(), nil
}
