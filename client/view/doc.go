// Package view keeps what the registry last said of some services, for a program that must decide at once and must
// go on when the registry is away.
//
// A [View] follows its names while [View.Run] runs. [View.Get] reads what is known of one, without a lock and without
// an allocation, so that it can be asked on every call; [View.Changed] says when to look again.
//
// # What stays
//
// The last opinion stays for ever when the registry falls silent: nodes that stop, hang or cannot be reached change
// nothing. A service that is deleted is no more switched off: its opinion is ServiceUnknown.
//
// Another cluster on the same endpoints, because the registry was founded anew or restored from a backup, may know
// nothing of what the old one had switched off. So a name that was off stays off: [Opinion.Held]. It is held until the
// new cluster speaks of the name, which is when a service of that name exists there. An override that the old cluster
// held stays also while the new cluster has only a report under a lease, until the override would have ended: such a
// report comes by itself, within a second, and no operator made it. Names that were not off are what the new cluster
// says at once.
//
// # Two watches
//
// A View opens two watches, each on one half of [client.Client.Endpoints], and of what both say it takes what is newer.
// So a node that hangs, which takes 15 s to be noticed, delays nothing as long as a node of the other half answers.
// With one endpoint there is one watch.
//
// # What belongs here
//
// What the registry says, and since when. What a program does about it stands elsewhere: client/healthserver serves
// it, client/aware refuses calls, client/resolver leaves out instances.
package view
