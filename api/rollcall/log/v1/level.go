package logv1

import "google.golang.org/protobuf/encoding/protowire"

// A feature level says what a binary can fold and read. A new kind of command or record, and a new field
// or enum value of an old one, has the next level; see docs/architecture.md, "How to raise the level".
const (
	// BaseLevel is what every binary can fold. In messages 0 stands for it.
	BaseLevel uint32 = 1
	// Level is the highest level that this binary can fold.
	Level uint32 = 2
	// LevelLayers is the level since which there are overrides, safety rules and leases.
	LevelLayers uint32 = 2
	// LevelAccess is the level since which there are tokens, roles and grants, and authenticated callers.
	LevelAccess uint32 = 2
	// LevelReach is the level since which members tell each other who cannot connect to whom.
	LevelReach uint32 = 2
	// LevelMembers is the level since which members are added and removed.
	LevelMembers uint32 = 2
)

// LevelOf is the level that a number in a message stands for.
func LevelOf(number uint32) uint32 { return max(number, BaseLevel) }

// LevelNumber is how a level stands in a message.
func LevelNumber(level uint32) uint32 {
	if level <= BaseLevel {
		return 0
	}
	return level
}

// AllowedLevel is the highest feature level that a member allows the cluster: what its binary can fold,
// or what it was told to hold. A nil member has not announced itself.
func (x *Member) AllowedLevel() uint32 {
	level := LevelOf(x.GetLevel())
	if hold := x.GetHoldLevel(); hold != 0 {
		level = min(level, hold)
	}
	return level
}

// EntryLevel returns the feature level that a sealed log entry needs, without decoding its commands.
func EntryLevel(sealed []byte) (uint32, error) {
	const number = 4 // of Entry.level
	payload, err := Payload(sealed)
	if err != nil {
		return 0, err
	}
	level := uint64(0)
	for b := payload; len(b) > 0; {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
		if field == number && typ == protowire.VarintType {
			level, n = protowire.ConsumeVarint(b)
		} else {
			n = protowire.ConsumeFieldValue(field, typ, b)
		}
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return LevelOf(uint32(level)), nil
}
