# etcdctl shows the member's certificate, where there is one and its key may be
# read: in a shell of root's.
if [ -r /etc/etcd/tls/etcdctl.env ]; then
	set -a
	. /etc/etcd/tls/etcdctl.env
	set +a
fi
