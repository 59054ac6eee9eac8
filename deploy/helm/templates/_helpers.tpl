{{/* The name of everything that the chart installs, unless a suffix follows. */}}
{{- define "charrnn-jobs.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}{{- $name = printf "%s-%s" $name .Chart.Name -}}{{- end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The labels of pods. Takes a list: the root and the component, or the root alone for the pods of all of them. */}}
{{- define "charrnn-jobs.selector" -}}
app.kubernetes.io/name: {{ (first .).Chart.Name }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
{{- range rest . }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* The labels of an object. Takes a list: the root and the component, or the root alone. */}}
{{- define "charrnn-jobs.labels" -}}
{{ include "charrnn-jobs.selector" . }}
app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (first .).Release.Service }}
helm.sh/chart: {{ (first .).Chart.Name }}-{{ (first .).Chart.Version }}
{{- end }}

{{/* The name of the workers' PriorityClass, which is not in a namespace. */}}
{{- define "charrnn-jobs.priorityClass" -}}
{{- $default := printf "%s-%s" .Release.Namespace (include "charrnn-jobs.name" .) -}}
{{- .Values.priorityClass.name | default (ternary $default "" .Values.priorityClass.create) -}}
{{- end }}

{{/* The fields of each pod. Takes a list: the root, and keys of the Secret that only this pod needs. */}}
{{- define "charrnn-jobs.pod" -}}
{{- $root := first . -}}
serviceAccountName: {{ include "charrnn-jobs.name" $root }}
automountServiceAccountToken: false
enableServiceLinks: false # variables such as CHARRNN_JOBS_SERVICE_HOST, of a Service of that name, would cause warnings
# The kernel ignores SIGTERM for a process with the number 1 that has no handler for it, as the scheduler has none and a
# worker that has just started. In a shared namespace, another process has this number.
shareProcessNamespace: true
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch # a shared volume can have 100,000 files
  seccompProfile: { type: RuntimeDefault }
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
volumes:
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        - secret:
            name: {{ $root.Values.secret }}
            items:
              - { key: redis_url, path: redis_url }
              - { key: store_url, path: store_url }
              {{- range rest . }}
              - { key: {{ . }}, path: {{ . }} }
              {{- end }}
        - secret:
            name: {{ $root.Values.secret }}
            optional: true # so that each of its keys may be missing
            items:
              - { key: ca.crt, path: ca.crt }
              - { key: aws_credentials, path: aws_credentials }
  - name: data
    emptyDir: { sizeLimit: {{ $root.Values.storage.data }} }
  - name: tmp
    emptyDir: { sizeLimit: {{ $root.Values.storage.tmp }} }
  {{- with $root.Values.files.claim }}
  - name: files
    persistentVolumeClaim: { claimName: {{ . }} }
  {{- end }}
{{- end }}

{{/* The fields of each container. Takes a list: the root, the name of its image. */}}
{{- define "charrnn-jobs.container" -}}
{{- $root := first . -}}
image: {{ printf "%s/%s:%s" $root.Values.image.repository (index . 1) ($root.Values.image.tag | default $root.Chart.AppVersion) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL] }
  readOnlyRootFilesystem: true
volumeMounts:
  - { name: secrets, mountPath: /run/secrets/charrnn-jobs, readOnly: true }
  - { name: data, mountPath: /data }
  - { name: tmp, mountPath: /tmp }
  {{- if $root.Values.files.claim }}
  - { name: files, mountPath: /files }
  {{- end }}
env:
  - { name: CHARRNN_REDIS_URL_FILE, value: /run/secrets/charrnn-jobs/redis_url }
  - { name: CHARRNN_STORE_URL_FILE, value: /run/secrets/charrnn-jobs/store_url }
  - { name: CHARRNN_FILES_URL, value: {{ $root.Values.files.url | default "/files" | quote }} }
  - { name: AWS_SHARED_CREDENTIALS_FILE, value: /run/secrets/charrnn-jobs/aws_credentials }
  {{- range $name, $value := $root.Values.settings }}
  - { name: {{ $name }}, value: {{ $value | quote }} }
  {{- end }}
{{- end }}
