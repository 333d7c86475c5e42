package registry

import "fmt"

// Check is one part that was checked, and what is wrong with it.
type Check struct {
	Name     string
	Looked   string   // what was checked, with counts
	Problems []string // empty: nothing is wrong; at most maxProblems, then how many more there are
	more     int
}

// maxProblems keeps a report readable, and small.
const maxProblems = 10

// Fail notes a problem.
func (c *Check) Fail(format string, args ...any) {
	if len(c.Problems) < maxProblems {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
		return
	}
	if c.more++; c.more > 1 {
		c.Problems = c.Problems[:maxProblems]
	}
	c.Problems = append(c.Problems, fmt.Sprintf("and %d more", c.more))
}
