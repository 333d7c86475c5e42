// Package auditlog writes who changed what, and who was refused, into a file: a line of JSON each. It knows
// nothing of requests. A line that cannot be written waits, and is lost when too many wait: no call waits for the
// file.
package auditlog
