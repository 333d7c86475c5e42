package node

import (
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/server/auditlog"
)

// openAuditLog opens the audit log, if there is to be one.
func (n *Node) openAuditLog() (err error) {
	if n.cfg.AuditLog != "" {
		n.auditLog, err = auditlog.Open(auditlog.Config{File: n.cfg.AuditLog, Node: n.cfg.Name, Logger: n.log})
	}
	return err
}

// ReopenAuditLog has the audit log go on in the file that is at its path now. It reports whether there is one.
func (n *Node) ReopenAuditLog() bool {
	if n.auditLog == nil {
		return false
	}
	n.auditLog.Reopen()
	return true
}

// readAudit reads what the metrics show of the audit log; nil if there is none.
func (n *Node) readAudit() *metrics.Audit {
	if n.auditLog == nil {
		return nil
	}
	s := n.auditLog.Stats()
	return &metrics.Audit{Written: s.Written, Lost: s.NotWritten, LeftOut: s.LeftOut}
}
