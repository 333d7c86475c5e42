package readinessgate

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollcallhq/rollcall/client"
)

// maxMessage bounds the message of a condition, in bytes.
const maxMessage = 1024

// condition is an entry of status.conditions of a pod, as Kubernetes' API has it (PodCondition of core/v1).
type condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"` // True, False or Unknown; a pod is ready only with True
	Reason             string    `json:"reason"` // one word in CamelCase
	Message            string    `json:"message"`
	LastTransitionTime time.Time `json:"lastTransitionTime"` // when Status changed; whole seconds
}

// conditionOf returns the condition for a status, without a time.
func conditionOf(conditionType string, s client.Status, why string) condition {
	c := condition{Type: conditionType, Status: "Unknown", Reason: "Unknown", Message: shorten(why)}
	switch s {
	case client.Serving:
		c.Status, c.Reason = "True", "Serving"
	case client.NotServing:
		c.Status, c.Reason = "False", "NotServing"
	}
	return c
}

// says reports whether two conditions say the same, whenever they began.
func (c condition) says(d condition) bool {
	return c.Type == d.Type && c.Status == d.Status && c.Reason == d.Reason && c.Message == d.Message
}

// shorten cuts a text that is longer than maxMessage, between two characters, and makes it valid UTF-8.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= maxMessage {
		return s
	}
	const cut = "…"
	end := maxMessage - len(cut)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cut
}

const (
	maxPrefix = 253
	maxName   = 63
)

var (
	prefixes = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	names    = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
)

// ownConditions are those that Kubernetes writes itself. A gate that wrote one of them would work against the kubelet.
var ownConditions = []string{"ContainersReady", "DisruptionTarget", "Initialized", "PodReadyToStartContainers", "PodResizeInProgress", "PodResizePending", "PodScheduled", "Ready"}

// CheckCondition returns an error if a condition cannot be the type of a readiness gate: Kubernetes' rule for qualified
// names, with a domain before the slash, so that it is no condition of Kubernetes' own.
func CheckCondition(conditionType string) error {
	const example = "as example.com/rollcall"
	prefix, name, slash := strings.Cut(conditionType, "/")
	switch {
	case !slash:
		for _, own := range ownConditions {
			if own == conditionType {
				return fmt.Errorf("%q is a condition that Kubernetes writes itself; use a name with a domain of yours, %s", conditionType, example)
			}
		}
		return fmt.Errorf("%q has no domain before a slash; use a name with a domain of yours, %s", conditionType, example)
	case len(prefix) > maxPrefix || !prefixes.MatchString(prefix):
		return fmt.Errorf("%q: what stands before the slash must be a domain in small letters, at most %d bytes, %s", conditionType, maxPrefix, example)
	case len(name) > maxName || !names.MatchString(name):
		return fmt.Errorf("%q: what stands after the slash must be letters, digits, '-', '_' and '.', begin and end with a letter or digit, and have at most %d bytes, %s", conditionType, maxName, example)
	}
	return nil
}
