package access

// Patterns returns the patterns over which a verb is allowed, in the order of the grants.
func (p Permissions) Patterns(verb Verbs) (patterns []string) {
	for _, g := range p.grants {
		if g.Verbs&verb != 0 {
			patterns = append(patterns, g.Pattern)
		}
	}
	return patterns
}
