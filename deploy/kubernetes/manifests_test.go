// Package kubernetes_test holds the manifests against the types of Kubernetes' API and against the rules between them.
package kubernetes_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// tree is the files of the manifests by their paths below this directory.
type tree map[string]string

// dirs are the directories that have a kustomization: the nodes, a service that uses them, and one that has an agent.
var dirs = []string{".", "example", "sidecar"}

// kustomization is all of one that these manifests use, so that anything else is refused.
type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources"`
	Images     []image  `json:"images"`
}

type image struct {
	Name    string `json:"name"`
	NewName string `json:"newName"`
	NewTag  string `json:"newTag"`
}

// workload is what a StatefulSet and a Deployment have in common.
type workload struct {
	dir, name string
	replicas  int32
	selector  *metav1.LabelSelector
	template  corev1.PodTemplateSpec
	set       *appsv1.StatefulSet // nil for a Deployment
}

// manifests are the decoded objects of all directories.
type manifests struct {
	kustomizations map[string]kustomization
	metas          []meta
	workloads      []workload
	services       []corev1.Service
	accounts       []corev1.ServiceAccount
	budgets        []policyv1.PodDisruptionBudget
	policies       []networkingv1.NetworkPolicy
	configs        []corev1.ConfigMap
	roles          []rbacv1.Role
	bindings       []rbacv1.RoleBinding
}

// meta is what every object has.
type meta struct {
	dir, kind string
	metav1.ObjectMeta
}

func readTree(t *testing.T) tree {
	t.Helper()
	files := tree{}
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d manifests, %v", dir, len(names), err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.ToSlash(name)] = string(b)
		}
	}
	return files
}

// decode reads every file strictly: an unknown or a repeated key, a wrong type or an unknown kind is an error.
func decode(files tree) (*manifests, error) {
	m := &manifests{kustomizations: map[string]kustomization{}}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		dir := filepath.Dir(name)
		if filepath.Base(name) == "kustomization.yaml" {
			var k kustomization
			if err := yaml.UnmarshalStrict([]byte(files[name]), &k); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			m.kustomizations[dir] = k
			continue
		}
		for i, document := range strings.Split(files[name], "\n---\n") {
			if err := m.add(dir, []byte(document)); err != nil {
				return nil, fmt.Errorf("%s, document %d: %w", name, i+1, err)
			}
		}
	}
	return m, nil
}

func (m *manifests) add(dir string, document []byte) error {
	var t metav1.TypeMeta
	if err := yaml.Unmarshal(document, &t); err != nil {
		return err
	}
	var object metav1.ObjectMeta
	var err error
	switch t.APIVersion + " " + t.Kind {
	case "v1 Service":
		var o corev1.Service
		err = yaml.UnmarshalStrict(document, &o)
		m.services, object = append(m.services, o), o.ObjectMeta
	case "v1 ServiceAccount":
		var o corev1.ServiceAccount
		err = yaml.UnmarshalStrict(document, &o)
		m.accounts, object = append(m.accounts, o), o.ObjectMeta
	case "apps/v1 StatefulSet":
		var o appsv1.StatefulSet
		err = yaml.UnmarshalStrict(document, &o)
		m.workloads = append(m.workloads, workload{dir, o.Name, replicas(o.Spec.Replicas), o.Spec.Selector, o.Spec.Template, &o})
		object = o.ObjectMeta
	case "apps/v1 Deployment":
		var o appsv1.Deployment
		err = yaml.UnmarshalStrict(document, &o)
		m.workloads = append(m.workloads, workload{dir, o.Name, replicas(o.Spec.Replicas), o.Spec.Selector, o.Spec.Template, nil})
		object = o.ObjectMeta
	case "policy/v1 PodDisruptionBudget":
		var o policyv1.PodDisruptionBudget
		err = yaml.UnmarshalStrict(document, &o)
		m.budgets, object = append(m.budgets, o), o.ObjectMeta
	case "networking.k8s.io/v1 NetworkPolicy":
		var o networkingv1.NetworkPolicy
		err = yaml.UnmarshalStrict(document, &o)
		m.policies, object = append(m.policies, o), o.ObjectMeta
	case "v1 ConfigMap":
		var o corev1.ConfigMap
		err = yaml.UnmarshalStrict(document, &o)
		m.configs, object = append(m.configs, o), o.ObjectMeta
	case "rbac.authorization.k8s.io/v1 Role":
		var o rbacv1.Role
		err = yaml.UnmarshalStrict(document, &o)
		m.roles, object = append(m.roles, o), o.ObjectMeta
	case "rbac.authorization.k8s.io/v1 RoleBinding":
		var o rbacv1.RoleBinding
		err = yaml.UnmarshalStrict(document, &o)
		m.bindings, object = append(m.bindings, o), o.ObjectMeta
	default:
		return fmt.Errorf("%q is no kind that these manifests have", t.APIVersion+" "+t.Kind)
	}
	m.metas = append(m.metas, meta{dir, t.Kind, object})
	return err
}

// replicas is 1 where none are given, as in Kubernetes.
func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// nodes is the StatefulSet of the registry.
func (m *manifests) nodes() (workload, error) {
	for _, w := range m.workloads {
		if w.set != nil {
			return w, nil
		}
	}
	return workload{}, fmt.Errorf("there is no StatefulSet")
}

// flag is the value of an argument --NAME=VALUE, or all of them if it is repeated.
func flag(c corev1.Container, name string) []string {
	var values []string
	for _, a := range c.Args {
		if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			values = append(values, v)
		}
	}
	return values
}

// variable is the environment variable NAME.
func variable(c corev1.Container, name string) corev1.EnvVar {
	for _, v := range c.Env {
		if v.Name == name {
			return v
		}
	}
	return corev1.EnvVar{}
}

// port is the port NAME of a container, 0 without one.
func port(c corev1.Container, name string) int32 {
	for _, p := range c.Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}
