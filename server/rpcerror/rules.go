package rpcerror

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// The details of an error go into headers, of which clients in some languages accept 8 KiB, in base64. Rules
// that find no room are counted. The answer to the same change with validate_only and break_glass names all.
const (
	maxViolationBytes  = 2400 // of the PreconditionFailure
	maxBrokenRuleBytes = 2400 // of the BrokenRules
	maxRulesTextBytes  = 400
)

// rulesBroken refuses a change because of the rules that it would break: a violation for each.
func rulesBroken(r *logv1.Refusal, meta map[string]string) *Failure {
	violations := &errdetails.PreconditionFailure{}
	broken := &rollcallv1.BrokenRules{}
	all := convert.BrokenRules(r.GetBroken())
	for i, rule := range all {
		violations.Violations = append(violations.Violations, &errdetails.PreconditionFailure_Violation{
			Type: ReasonRuleBroken, Subject: rule.GetRule(), Description: ruleText(r.GetBroken()[i]),
		})
		if proto.Size(violations) > maxViolationBytes {
			violations.Violations = violations.Violations[:i]
			break
		}
	}
	for i, rule := range all {
		broken.Rules = append(broken.Rules, rule)
		if proto.Size(broken) > maxBrokenRuleBytes {
			broken.Rules, broken.More = broken.Rules[:i], int64(len(all)-i)
			break
		}
	}
	return &Failure{
		Reason:  ReasonRuleBroken,
		Message: RefusalText(r),
		Meta:    meta,
		Details: []protoadapt.MessageV1{violations, broken},
	}
}

// brokenText is the message of an error about rules.
func brokenText(broken []*logv1.BrokenRule) string {
	var b strings.Builder
	b.WriteString("not written: breaks ")
	for i, rule := range broken {
		text := fmt.Sprintf("%s (%s)", rule.GetRule(), ruleText(rule))
		if i > 0 && b.Len()+len(text) > maxRulesTextBytes {
			fmt.Fprintf(&b, " and %d more", len(broken)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(text)
	}
	return b.String()
}

// ruleText says how a rule would be broken.
func ruleText(r *logv1.BrokenRule) string {
	return fmt.Sprintf("%s: %d needed, %d of %d would serve", r.GetPattern(), r.GetNeeded(), r.GetServing(), r.GetTotal())
}
