// Package fence refuses reads and changes of the registry on a node whose registry is not the cluster's. How
// a node finds that out does not belong here (package node/audit).
package fence
