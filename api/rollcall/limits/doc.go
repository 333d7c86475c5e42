// Package limits says what a request may hold: how many and how large its fields may be, and which
// characters its names and texts may consist of. The API, the fold, the client and the command line all
// ask here, so that they agree.
//
// The fold asks too. So a result depends on nothing but the text and the tables of this package, which are
// of one version of Unicode (tables.go, made by tools/nametables), whatever version of Go built the node.
// Another table is a new feature level.
//
// Limits that only one side knows (connections, watches, sizes of answers) are not here.
package limits

import "time"

// How large the fields of a request may be.
const (
	MaxNameBytes        = 256     // of a service
	MaxReasonBytes      = 1 << 10 // of a change
	MaxActorBytes       = 256
	MaxRequestIDBytes   = 64
	MaxLeaseIDBytes     = 64
	MaxNodeNameBytes    = 63
	MaxAddressBytes     = 262 // of a member: a host name and a port
	MaxMemberFieldBytes = 256 // its version and directory id
	MaxPatternBytes     = MaxNameBytes
	MaxRuleNameBytes    = 64

	MaxChanges      = 10_000 // of one atomic write
	MaxPrefixes     = 100    // of a watch or a list of events
	MaxWatchedNames = 10_000 // that one watch of services names
	DefaultPageSize = 1_000
	MaxPageSize     = 10_000
	MaxBreakGlass   = 100 // rules that a change names
)

// How many overrides and rules there may be.
const (
	MaxOverrides       = 10_000 // that have not ended
	MaxPrefixOverrides = 1_000  // of them, those whose pattern ends with "/*" or ".*"
	MaxEndedOverrides  = 10_000 // that are still kept
	MaxRules           = 1_000
)

// Members. A founder that has not announced itself counts as neither.
const (
	MaxVoters         = 9 // members that vote, or will
	MaxReplicas       = 20
	MaxRemovedMembers = 1_000 // that are remembered
)

// Access.
const (
	MaxTokens           = 10_000
	MaxRoles            = 100
	MaxIdentities       = 10_000 // that have grants
	MaxGrantPatterns    = 1_000  // of one identity, over all its grants
	MaxIdentityBytes    = MaxActorBytes
	MaxTokenNameBytes   = 64
	MaxRoleNameBytes    = 64
	MaxDescriptionBytes = 256

	MinTokenTTL = time.Second
	MaxTokenTTL = 10 * 365 * 24 * time.Hour
)

// Leases.
const (
	MaxLeases        = 100_000 // that live or are ending
	MaxEndedLeases   = 100_000 // whose reports wait to be forgotten
	MaxRenewedAtOnce = 10_000  // ids of one message
	MaxRevokeChanges = 10_000  // services that change at once with the revocation of a lease
	MaxExpireChanges = 2_000   // services that one command of a leader changes because leases end

	MinLeaseTTL    = time.Second
	MaxLeaseTTL    = 24 * time.Hour
	MinForgetAfter = time.Second
	MaxForgetAfter = 365 * 24 * time.Hour
)

// How long an override may last, unless it is to last until it is cleared.
const (
	MinOverrideTTL     = time.Second
	MaxOverrideTTL     = 30 * 24 * time.Hour
	DefaultOverrideTTL = time.Hour
)
