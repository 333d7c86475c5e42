package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Kind describes a sort of replicated record: all that state, registry file, snapshots, state hash,
// scrubber, compaction, history and verify have to know of it. A kind is one file of this package;
// docs/architecture.md says how to add one.
type Kind struct {
	Number logv1.Kind // never used again for another kind
	Name   string     // for people
	Level  uint32     // the feature level since which there can be records of it; 0: the base level
	// New returns an empty record to decode into.
	New func() Value
	// Check finds what is wrong with a record that was read from disk, as far as the fold could not have
	// made it; nil: nothing ever is.
	Check func(key string, v Value) error
	// History makes every change of a record an event: compaction keeps the newest event of each key that
	// is no deletion, the past of a record can be read, and verify compares the record with its newest
	// event. Keys are then UTF-8 without U+0000, of 1 to 1024 bytes.
	History bool
	// PerCluster kinds belong to a cluster and not to its registry: a restored backup has none.
	PerCluster bool
	// Evaluate says what a RecordCommand of this kind would do, by reading from tx and putting into it. It
	// depends on nothing else. nil: there is no such command.
	Evaluate func(tx *Tx, payload []byte) *logv1.Refusal
	// CommandLevel is the feature level since which there is the command; 0: since there are records.
	CommandLevel uint32
	// ResultBefore has the result of a command, and the event, that deletes a record hold the record as it was.
	ResultBefore bool

	// applied is told of every record that was loaded, put or deleted: what it was, and what it is now (nil: it does
	// not exist).
	applied func(s *state, key string, before, after Value)
	// tuned kinds are not kept in a table of the state; nil: this one is.
	tuned *tuned
}

// tuned is what a kind that has a place of its own in the state does instead of a table.
type tuned struct {
	loader func(*loading) recordLoader
	count  func(*state) int
	// hashAll adds all records of a view to a hash, until step returns an error. nil: a view does not hold
	// them, and their part of the hash is in state.remembered.
	hashAll func(v *view, m *multiset, step func() error) error
	// after returns the bytes of the record that an event left; nil: they stand in the event.
	after func(*logv1.Event) []byte
}

// Value is a record in memory, immutable once it was put. Messages of logv1 are values.
type Value interface {
	logv1.Value
	UnmarshalVT([]byte) error
}

// Kinds are the kinds that a registry can hold, in the order of their numbers.
type Kinds struct{ all []*Kind }

// DefaultKinds returns the kinds of this binary.
func DefaultKinds() *Kinds { return defaultKinds }

var defaultKinds = (&Kinds{}).With(serviceKind, memberKind, requestKind, settingKind,
	leaseKind, overrideKind, ruleKind, leaseGuardKind,
	tokenKind, roleKind, grantsKind, authKind, removedKind)

// With returns these and more kinds. It panics if two have the same number.
func (k *Kinds) With(more ...*Kind) *Kinds {
	all := append(slices.Clone(k.all), more...)
	slices.SortFunc(all, func(a, b *Kind) int { return cmp.Compare(a.Number, b.Number) })
	for i := 1; i < len(all); i++ {
		if all[i].Number == all[i-1].Number {
			panic(fmt.Sprintf("kinds %s and %s have the same number", all[i-1].Name, all[i].Name))
		}
	}
	return &Kinds{all}
}

// find returns nil for a number that is no kind's.
func (k *Kinds) find(number logv1.Kind) *Kind {
	for _, kind := range k.all {
		if kind.Number == number {
			return kind
		}
	}
	return nil
}

// commandKind returns the kind of a RecordCommand; nil if this binary does not know the kind, or the kind has
// no command.
func (k *Kinds) commandKind(c *logv1.RecordCommand) *Kind {
	kind := k.find(c.GetKind())
	if kind == nil || kind.Evaluate == nil {
		return nil
	}
	return kind
}

// PerCluster says whether a restored backup has no records of a kind.
func (k *Kinds) PerCluster(number logv1.Kind) bool {
	kind := k.find(number)
	return kind != nil && kind.PerCluster
}

// HasHistory says whether each record of a kind is as its newest event left it.
func (k *Kinds) HasHistory(number logv1.Kind) bool {
	kind := k.find(number)
	return kind != nil && kind.History
}

// After returns the bytes of the record that e left, as the registry file holds them. e does not delete it.
func (k *Kinds) After(e *logv1.Event) []byte {
	if kind := k.find(e.GetKind()); kind != nil && kind.tuned != nil && kind.tuned.after != nil {
		return kind.tuned.after(e)
	}
	return e.GetAfter()
}

// Name returns the name of a kind, for people.
func (k *Kinds) Name(number logv1.Kind) string {
	if kind := k.find(number); kind != nil {
		return kind.Name
	}
	return fmt.Sprintf("record of kind %d", number)
}

// decode returns the record with a key.
func (k *Kind) decode(key string, value []byte) (Value, error) {
	v := k.New()
	if err := v.UnmarshalVT(value); err != nil {
		return nil, fmt.Errorf("%s %q: it cannot be read: %w", k.Name, key, err)
	}
	if k.History && !isKey(key) {
		return nil, fmt.Errorf("%q cannot be the key of a %s", key, k.Name)
	}
	if k.Check != nil {
		if err := k.Check(key, v); err != nil {
			return nil, fmt.Errorf("%s %q: %w", k.Name, key, err)
		}
	}
	return v, nil
}

// maxKeyBytes limits the keys of kinds that have a history.
const maxKeyBytes = 1 << 10

// isKey says whether key can be the key of a kind that has a history.
func isKey(key string) bool {
	return key != "" && len(key) <= maxKeyBytes && utf8.ValidString(key) && !strings.ContainsRune(key, 0)
}
