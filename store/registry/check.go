package registry

import "fmt"

// Check is one thing that was looked at, and what is wrong with it.
type Check struct {
	Name     string
	Looked   string   // at what, with counts
	Problems []string // none: nothing is; at most maxProblems, then how many more
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
