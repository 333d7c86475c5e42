package apijson

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// left says that a field that is empty is left out of the JSON, because it has no value there: its zero would look
// like one. m is the value of the field of, or of none.
func left(m proto.Message, field protoreflect.Name, of protoreflect.FieldDescriptor) bool {
	switch v := m.(type) {
	case *rollcallv1.Event:
		return !hasField(v.GetType(), field)
	case *rollcallv1.Member:
		return leftOfMember(field, of)
	case *rollcallv1.Lease:
		return leftOfLease(v, field, of)
	case *rollcallv1.ListOverridesResponse, *rollcallv1.ListLeasesResponse, *rollcallv1.ListTokensResponse, *rollcallv1.ListGrantsResponse:
		return field == "next_page_token" // all pages are shown
	case *rollcallv1.Token, *rollcallv1.AccessRole, *rollcallv1.IdentityGrants, *rollcallv1.Auth:
		return leftOfAccess(m, field, of)
	case *rollcallv1.ServiceRecord:
		// Nothing can be beneath it: it has the status alone, as asked for by VIEW_STATUS.
		return field == "shadowed" && v.GetReport() == nil && v.GetOverride() == nil && v.GetLease() == nil
	case *rollcallv1.Rule:
		return field == "revision" || leftOfRule(v, field, of)
	case *rollcallv1.Report, *rollcallv1.Override:
		return field == "revision" // of a dry run: there is no such revision
	case *rollcallv1.SetServingStatusResponse, *rollcallv1.BatchSetServingStatusResponse, *rollcallv1.DeleteServiceResponse,
		*rollcallv1.SetOverrideResponse, *rollcallv1.ClearOverrideResponse, *rollcallv1.SetRuleResponse, *rollcallv1.RemoveRuleResponse,
		*rollcallv1.GrantLeaseResponse, *rollcallv1.RevokeLeaseResponse, *rollcallv1.ReleaseLeaseGuardResponse,
		*rollcallv1.SetAuthResponse, *rollcallv1.CreateTokenResponse, *rollcallv1.RevokeTokenResponse,
		*rollcallv1.PutRoleResponse, *rollcallv1.DeleteRoleResponse, *rollcallv1.PutGrantsResponse,
		*rollcallv1.AddMemberResponse, *rollcallv1.RemoveMemberResponse, *rollcallv1.ReplaceMemberResponse, *rollcallv1.PromoteMemberResponse:
		switch field {
		case "revision", "broken_rules":
			return true
		case "affected", "affected_total": // only a dry run tells whom a change affects
			return true
		}
	}
	return false
}

// leftOfRule is left for a rule. An event counts no services, and the answer to setting a rule only if it is broken: then
// it needs something.
func leftOfRule(r *rollcallv1.Rule, field protoreflect.Name, of protoreflect.FieldDescriptor) bool {
	if of == nil || of.Parent().Name() != "SetRuleResponse" && of.Parent().Name() != "Event" {
		return false
	}
	switch field {
	case "needed", "serving", "total":
		return r.GetNeeded() == 0 && r.GetTotal() == 0
	}
	return false
}

// leftOfMember is left for a member. An event tells what it was to be, and not how far that is.
func leftOfMember(field protoreflect.Name, of protoreflect.FieldDescriptor) bool {
	return (field == "voter" || field == "phase_detail") && of != nil && of.Parent().Name() == "Event"
}

// leftOfAccess is left for a token, a role, grants or the setting of the cluster. A role that is built in was made by
// nobody, a dry run makes no revision, and an event tells of what it deleted only the name.
func leftOfAccess(m proto.Message, field protoreflect.Name, of protoreflect.FieldDescriptor) bool {
	changed := of != nil && of.Parent().Name() == "AccessChange"
	switch v := m.(type) {
	case *rollcallv1.Auth:
		return field == "revision" && (of == nil || of.Parent().Name() != "GetAuthResponse") // where it says that it was never set
	case *rollcallv1.AccessRole:
		if v.GetBuiltIn() {
			return field == "reason" || field == "revision"
		}
		return field == "revision" || changed && v.GetRevision() == 0
	case *rollcallv1.Token:
		if changed {
			return field == "grants" || v.GetRevision() == 0
		}
	case *rollcallv1.IdentityGrants:
		if changed {
			return v.GetRevision() == 0
		}
	}
	return field == "revision"
}

// leftOfLease is left for a lease. Events of its end may tell nothing but its id, only lists count its services, and
// only a leader knows which are late.
func leftOfLease(l *rollcallv1.Lease, field protoreflect.Name, of protoreflect.FieldDescriptor) bool {
	listed := of == nil || of.Parent().Name() == "ListLeasesResponse"
	switch field {
	case "on_expiry", "reason", "revision":
		return l.GetTtl() == nil
	case "revoked":
		return l.GetEndTime() == nil
	case "service_count":
		return !listed
	case "late":
		return l.GetTimeLeft() == nil
	}
	return false
}

// Fields of all events, and those of some types. Any other field is written only if it is set.
var (
	everyEvent  = []protoreflect.Name{"revision", "commit_revision", "reason", "request_id"}
	eventFields = map[rollcallv1.EventType][]protoreflect.Name{
		rollcallv1.EventType_EVENT_TYPE_REPORTED:         {"service", "previous_status", "status", "effective_status"},
		rollcallv1.EventType_EVENT_TYPE_DELETED:          {"service", "previous_status", "status", "effective_status"},
		rollcallv1.EventType_EVENT_TYPE_EXPIRED:          {"service", "previous_status", "status", "effective_status"},
		rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET:     {"pattern", "status", "matched_count"},
		rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED: {"pattern", "status", "matched_count"},
		rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED: {"pattern", "status", "matched_count"},
		rollcallv1.EventType_EVENT_TYPE_RULE_SET:         {"pattern"},
		rollcallv1.EventType_EVENT_TYPE_LEASE_ENDING:     {"matched_count"},
		rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED:      {"matched_count"},
		rollcallv1.EventType_EVENT_TYPE_LEASE_FORGOTTEN:  {"matched_count"},
	}
)

func hasField(t rollcallv1.EventType, field protoreflect.Name) bool {
	return slices.Contains(everyEvent, field) || slices.Contains(eventFields[t], field)
}
