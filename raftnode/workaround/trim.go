package workaround

import "github.com/hashicorp/raft"

// TrimEntries leaves in a request as many of its first entries as hold maxBytes, one at least.
//
// raft bounds a request by the number of entries only (Config.MaxAppendEntries). Its replication (v1.7.3:
// replicateTo, updateLastAppended) takes from the request itself which entries a follower has acknowledged,
// after the transport has returned: what was cut off is sent next. With pipelines it would not, but there
// are none here.
func TrimEntries(req *raft.AppendEntriesRequest, maxBytes int) {
	bytes := 0
	for i, e := range req.Entries {
		if bytes += len(e.Data) + len(e.Extensions); i > 0 && bytes > maxBytes {
			req.Entries = req.Entries[:i]
			return
		}
	}
}
