package node

import (
	"fmt"

	"github.com/rollcallhq/rollcall/server/authn"
)

// openAdmins reads who administers the cluster by this node's configuration.
func (n *Node) openAdmins() (err error) {
	n.admins, err = authn.NewStatic(n.cfg.AdminIdentities, n.cfg.AdminTokenFile)
	if err != nil {
		return fmt.Errorf("--admin-token-file: %w", err)
	}
	return nil
}

// ReloadAdminToken reads the file of the administrator's token again, and logs what became of it. It says whether there
// is such a file.
func (n *Node) ReloadAdminToken() bool {
	if !n.admins.HasFile() {
		return false
	}
	if err := n.admins.Reload(); err != nil {
		n.log.Error("the file of the administrator's token is wrong; the token that was read before stays", "error", err)
	} else {
		n.log.Info("the file of the administrator's token is read again")
	}
	return true
}
